/**
 * run: one worker of the simulator. It plays the schedules that its parent names on stdin, one JSON line each, and answers each with a line.
 */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { play, type Played } from './play.js';
import { makeSchedule } from './schedule-maker.js';
import { describeSchedule, type Roughness, type Schedule } from './schedule.js';
import { shrink } from './shrink.js';
import { vary } from './variation.js';

interface Order {
  readonly seed: string;
  readonly roughness?: Roughness;
  /** Played in place of the one that the seed makes. */
  readonly schedule?: Schedule;
  /** Whether the seed makes a variation of a schedule that failed once. */
  readonly varies?: boolean;
  readonly shrinks: boolean;
}

const REGRESSIONS = 'test/sim/regressions.json';

async function scheduleOf({ seed, roughness, schedule, varies }: Order): Promise<Schedule> {
  if (schedule) return schedule;
  if (varies !== true) return makeSchedule(seed, roughness);
  const known = JSON.parse(await readFile(REGRESSIONS, 'utf8')) as readonly { readonly schedule: Schedule }[];
  return vary(
    seed,
    known.map((regression) => regression.schedule),
  );
}

async function obey(order: Order): Promise<object> {
  const { seed, shrinks } = order;
  const made = await scheduleOf(order);
  const played = await play(made);
  if (!played.violation) return { seed, counts: played.counts };
  const shortest = shrinks ? await shrink(made, played) : { schedule: made, played };
  return { seed, counts: played.counts, failure: describeFailure(shortest.schedule, shortest.played) };
}

function describeFailure(schedule: Schedule, { violation, trace }: Played): object {
  return {
    guarantee: violation?.guarantee,
    message: violation?.message,
    schedule,
    text: describeSchedule(schedule),
    trace,
  };
}

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line) as Order))}\n`);
  }
}

// Errors are the simulator's daily bread, and nobody reads where they were made.
Error.stackTraceLimit = 0;
void serve();
