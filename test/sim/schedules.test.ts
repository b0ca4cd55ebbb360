/**
 * A share of the simulator's schedules: those that failed once, some that are always the same, and fresh ones. `npm run sim` plays more; a failure
 * here prints the seed with which it plays, shrinks and shows the same schedule again.
 */
import { readFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { play } from './play.js';
import { makeSchedule } from './schedule-maker.js';
import { describeSchedule, type Schedule } from './schedule.js';

interface Regression {
  /** What was wrong, and what it broke. */
  readonly title: string;
  readonly schedule: Schedule;
}

const FIXED = 150;
const FRESH = 10;
const TRACE_LINES = 40;

/** Errors are the simulator's daily bread, and nobody reads where they were made. */
Error.stackTraceLimit = 0;

async function expectKept(t: Test, schedule: Schedule): Promise<boolean> {
  const { violation, trace } = await play(schedule);
  if (!violation) return true;
  t.fail(`${violation.message}; again with \`npm run sim -- --seed ${schedule.seed}\``, {
    schedule: describeSchedule(schedule),
    trace: trace.slice(-TRACE_LINES),
  });
  return false;
}

async function expectAllKept(t: Test, prefix: string, count: number): Promise<void> {
  for (let at = 0; at < count; at += 1) {
    if (!(await expectKept(t, makeSchedule(`${prefix}${at}`)))) return;
  }
  t.pass(`${count} schedules, ${prefix}0 to ${prefix}${count - 1}`);
}

async function readRegressions(): Promise<Regression[]> {
  return JSON.parse(await readFile('test/sim/regressions.json', 'utf8')) as Regression[];
}

void t.test('schedules that failed once keep every guarantee', async (t) => {
  const regressions = await readRegressions();
  for (const { title, schedule } of regressions) t.ok(await expectKept(t, schedule), title);
});

void t.test(
  'a start that stood still while another host took over is refused before its VM runs',
  async (t) => {
    const found = (await readRegressions()).find(({ schedule }) => schedule.seed === 'start-stood-still');
    t.ok(found);
    if (!found) return;
    const { counts } = await play(found.schedule);
    t.match(counts, { 'refused, prepare: HELD_ELSEWHERE': 1 });
  },
);

void t.test('G1 to G8 in schedules that are always the same', (t) => expectAllKept(t, 'fixed-', FIXED));

void t.test('G1 to G8 in fresh schedules', (t) => expectAllKept(t, `${Date.now().toString(36)}-`, FRESH));
