/**
 * Every operation of the volume protocol, killed before each of its calls. SEED=n makes another choice of what an unsynced disk keeps.
 */
import t from 'tap';
import type { Call } from '../sim/injection.js';
import { ACTOR, OTHER, SCENARIOS } from './volume-scenarios.js';
import { isReading, SEED, sweep, type Mishap } from './volume-sweep.js';

const KILLED = { kind: 'kill', executed: false } as const;
const LIVES = [
  { power: undefined, successor: ACTOR },
  { power: undefined, successor: OTHER },
  { power: 'ordered', successor: ACTOR },
  { power: 'independent', successor: OTHER },
] as const;
const POWER_LOSSES = 8;

function* crashes(calls: readonly Call[]): Generator<Mishap> {
  for (const [at, call] of calls.entries()) {
    const nth = at + 1;
    // Between two calls that change nothing, a crash is the same crash.
    const lives = isReading(call) ? LIVES.slice(0, 1) : LIVES;
    for (const life of lives) yield { nth, injection: KILLED, ...life, seed: SEED * 1000 + nth };
  }
  // Behind the last call: everything was done and acknowledged, and then the power fails.
  for (const power of ['ordered', 'independent'] as const) {
    for (let loss = 1; loss <= POWER_LOSSES; loss++) {
      yield { nth: Infinity, injection: KILLED, power, successor: OTHER, seed: SEED * 1000 + loss };
    }
  }
}

for (const scenario of SCENARIOS) {
  t.test(`${scenario.guarantees}: ${scenario.name} survives a crash at any of its calls`, (t) =>
    sweep(t, scenario, crashes),
  );
}
