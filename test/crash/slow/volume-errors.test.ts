/**
 * Every operation of the volume protocol with an error at each of its calls: one that changed nothing, and one that hides a success. The
 * host lives on and does what the error tells it; half of the time the power fails after that. SEED=n
 * makes another choice.
 */
import t from 'tap';
import type { Call } from '../../sim/injection.js';
import { ACTOR, OTHER, SCENARIOS } from '../volume-scenarios.js';
import { isReading, SEED, sweep, type Mishap } from '../volume-sweep.js';

const POWER_STAYS = { power: undefined, successor: ACTOR } as const;
const POWER_FAILS = { power: 'independent', successor: OTHER } as const;

const ERRORS_OF_READING = ['EIO', 'ESTALE', 'EACCES'];
const ERRORS = [...ERRORS_OF_READING, 'ENOSPC', 'EDQUOT', 'EROFS'];

/** Errors of a call that took place and whose reply was lost: a time-out, or what the second try of a client is told. */
function lostReplies(call: Call): string[] {
  if (isReading(call)) return [];
  if (['symlink', 'link', 'mkdir'].includes(call.operation)) return ['EIO', 'EEXIST'];
  return ['rename', 'unlink'].includes(call.operation) ? ['EIO', 'ENOENT'] : ['EIO'];
}

function* errors(calls: readonly Call[]): Generator<Mishap> {
  for (const [at, call] of calls.entries()) {
    for (const [turn, code] of (isReading(call) ? ERRORS_OF_READING : ERRORS).entries()) {
      yield mishap(at + 1, code, false, turn);
    }
    for (const [turn, code] of lostReplies(call).entries()) yield mishap(at + 1, code, true, turn);
  }
}

/** Who goes on afterwards alternates from call to call, from error to error and from seed to seed. */
function mishap(nth: number, code: string, executed: boolean, turn: number): Mishap {
  const injection = { kind: 'fail', code, executed } as const;
  return {
    nth,
    injection,
    ...((nth + turn + SEED) % 2 ? POWER_STAYS : POWER_FAILS),
    seed: SEED * 1000 + nth,
  };
}

for (const scenario of SCENARIOS) {
  t.test(`${scenario.guarantees}: ${scenario.name} survives an error at any of its calls`, (t) =>
    sweep(t, scenario, errors),
  );
}
