/**
 * expect-kept: schedules that must keep every guarantee, as a test; a failure tells the seed.
 */
import { readFile } from 'node:fs/promises';
import type { Test } from 'tap';
import { play } from './play.js';
import { makeSchedule } from './schedule-maker.js';
import { describeSchedule, type Schedule } from './schedule.js';

export interface Regression {
  /** What was wrong, and what it broke. */
  readonly title: string;
  readonly schedule: Schedule;
}

const TRACE_LINES = 40;

/** Errors are the simulator's daily bread, and nobody reads where they were made. */
Error.stackTraceLimit = 0;

export async function expectKept(t: Test, schedule: Schedule): Promise<boolean> {
  const { violation, trace } = await play(schedule);
  if (!violation) return true;
  t.fail(`${violation.message}; again with \`npm run sim -- --seed ${schedule.seed}\``, {
    schedule: describeSchedule(schedule),
    trace: trace.slice(-TRACE_LINES),
  });
  return false;
}

/** Seeds `<prefix><from>` up to, and without, `<prefix><to>`. */
export async function expectAllKept(t: Test, prefix: string, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += 1) {
    if (!(await expectKept(t, makeSchedule(`${prefix}${at}`)))) return;
  }
  t.pass(`${to - from} schedules, ${prefix}${from} to ${prefix}${to - 1}`);
}

export async function readRegressions(): Promise<Regression[]> {
  return JSON.parse(await readFile('test/sim/regressions.json', 'utf8')) as Regression[];
}
