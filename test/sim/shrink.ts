/**
 * shrink: the shortest schedule found that still breaks the same guarantee: steps are left out, in ever smaller pieces, then waits are shortened.
 */
import { play, type Played } from './play.js';
import type { Schedule, Step } from './schedule.js';

export interface Shrunk {
  readonly schedule: Schedule;
  readonly played: Played;
}

const SHORT_WAITS_MS = [0, 50, 1000, 6000];

/** @param runsMax how many schedules are tried at most */
export async function shrink(schedule: Schedule, played: Played, runsMax = 400): Promise<Shrunk> {
  let best: Shrunk = { schedule, played };
  let runs = 0;
  const improves = async (steps: readonly Step[]): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const candidate = { ...schedule, steps };
    const outcome = await play(candidate);
    if (outcome.violation?.guarantee !== played.violation?.guarantee) return false;
    best = { schedule: candidate, played: outcome };
    return true;
  };
  const steps = (): readonly Step[] => best.schedule.steps;
  for (let size = steps().length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < steps().length;) {
      const without = [...steps().slice(0, at), ...steps().slice(at + size)];
      if (!(await improves(without))) at += size;
    }
  }
  for (let at = 0; at < steps().length; at += 1) {
    for (const thenMs of SHORT_WAITS_MS) {
      const step = steps()[at];
      if (!step || step.thenMs <= thenMs) break;
      if (await improves(steps().map((each, place) => (place === at ? { ...each, thenMs } : each)))) break;
    }
  }
  return best;
}
