/**
 * scenarios: all of them, in the order in which they are played.
 */
import type { Scenario } from './scenario.js';
import { hostPowerCuts } from './scenarios/host-power-cut.js';
import { rpcScenario } from './scenarios/rpc.js';

export const SCENARIOS: readonly Scenario[] = [rpcScenario, ...hostPowerCuts];
