/**
 * variation: a schedule near one that failed once. What broke the sources before is close to what still may, and random schedules come there seldom.
 *
 * The same seed and the same schedules give the same variation.
 */
import { SeededRandom } from './random.js';
import type { Schedule, ScheduleOptions, Step } from './schedule.js';

const EDITS_MAX = 3;
const FACTORS = [0, 0.1, 0.5, 1, 2, 5];
const PAUSES_MS = [0, 0, 50, 500, 3_000, 30_000];
const SKIPS_MAX = 5;

type Edit = (steps: Step[], at: number, random: SeededRandom) => void;

/** @param known at least one */
export function vary(seed: string, known: readonly Schedule[]): Schedule {
  const random = new SeededRandom(seed);
  const { options, steps } = random.pick(known);
  const donors = random.pick(known).steps.filter((step) => fits(step, options));
  const varied = [...steps];
  for (let edits = random.int(1, EDITS_MAX); edits > 0 && varied.length > 0; edits -= 1) {
    const edit = random.weighted<Edit>([
      [30, pauseOtherwise],
      [15, leaveOut],
      [15, repeatElsewhere],
      [10, swapWithNext],
      [15, (all, at) => donors.length > 0 && all.splice(at, 0, random.pick(donors))],
      [15, armLater],
    ]);
    edit(varied, random.int(0, varied.length - 1), random);
  }
  return { seed, options, steps: varied };
}

/** Whether its hosts and domains are among those of a schedule with these options. */
function fits(step: Step, { hosts, transient }: ScheduleOptions): boolean {
  const { host = 0, to = 0, domain = 0 } = step as { host?: number; to?: number; domain?: number };
  return Math.max(host, to) < hosts && domain < transient.length;
}

function replace(steps: Step[], at: number, change: (step: Step) => Step): void {
  const step = steps[at];
  if (step) steps[at] = change(step);
}

function pauseOtherwise(steps: Step[], at: number, random: SeededRandom): void {
  const [factor, more] = [random.pick(FACTORS), random.pick(PAUSES_MS)];
  replace(steps, at, (step) => ({ ...step, thenMs: Math.round(step.thenMs * factor + more) }));
}

function leaveOut(steps: Step[], at: number): void {
  steps.splice(at, 1);
}

function repeatElsewhere(steps: Step[], at: number, random: SeededRandom): void {
  const step = steps[at];
  if (step) steps.splice(random.int(0, steps.length), 0, step);
}

function swapWithNext(steps: Step[], at: number): void {
  steps.splice(at, 2, ...steps.slice(at, at + 2).reverse());
}

function armLater(steps: Step[], at: number, random: SeededRandom): void {
  const skip = random.int(0, SKIPS_MAX);
  replace(steps, at, (step) => (step.do === 'arm' ? { ...step, arm: { ...step.arm, skip } } : step));
}
