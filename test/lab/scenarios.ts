/**
 * scenarios: all of them, in the order in which they are played.
 */
import type { Scenario } from './scenario.js';
import { conformance } from './scenarios/conformance.js';
import { directPlacement } from './scenarios/direct.js';
import { hostPowerCuts } from './scenarios/host-power-cut.js';
import { partitions } from './scenarios/partition.js';
import { removals } from './scenarios/removal.js';
import { rpcScenario } from './scenarios/rpc.js';
import { serverFaults } from './scenarios/server.js';
import { shareFaults } from './scenarios/share.js';
import { twoHosts } from './scenarios/two-hosts.js';

export const SCENARIOS: readonly Scenario[] = [
  rpcScenario,
  ...conformance,
  ...partitions,
  ...twoHosts,
  ...shareFaults,
  ...directPlacement,
  ...removals,
  ...hostPowerCuts,
  ...serverFaults,
];
