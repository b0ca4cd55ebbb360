/**
 * crashes: every call of an operation at which its host can die, and how life goes on afterwards.
 */
import type { Call } from '../sim/injection.js';
import { ACTOR, OTHER } from './volume-scenarios.js';
import { isReading, SEED, type Mishap } from './volume-sweep.js';

const KILLED = { kind: 'kill', executed: false } as const;
const LIVES = [
  { power: undefined, successor: ACTOR },
  { power: undefined, successor: OTHER },
  { power: 'ordered', successor: ACTOR },
  { power: 'independent', successor: OTHER },
] as const;

export interface CrashPlan {
  /** Every way to go on at each call; otherwise one, and another from call to call. */
  readonly isWhole: boolean;
  /** Power losses behind the last call, of each kind. */
  readonly powerLosses: number;
}

export function* crashes(calls: readonly Call[], { isWhole, powerLosses }: CrashPlan): Generator<Mishap> {
  for (const [at, call] of calls.entries()) {
    const nth = at + 1;
    for (const life of livesAt(call, nth, isWhole)) {
      yield { nth, injection: KILLED, ...life, seed: SEED * 1000 + nth };
    }
  }
  // Behind the last call: everything was done and acknowledged, and then the power fails.
  for (const power of ['ordered', 'independent'] as const) {
    for (let loss = 1; loss <= powerLosses; loss++) {
      yield { nth: Infinity, injection: KILLED, power, successor: OTHER, seed: SEED * 1000 + loss };
    }
  }
}

function livesAt(call: Call, nth: number, isWhole: boolean): readonly (typeof LIVES)[number][] {
  // Between two calls that change nothing, a crash is the same crash.
  if (isReading(call)) return LIVES.slice(0, 1);
  const turn = (nth + SEED) % LIVES.length;
  return isWhole ? LIVES : LIVES.slice(turn, turn + 1);
}
