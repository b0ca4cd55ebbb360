/**
 * More of the simulator's schedules: see `../schedules.test.ts`.
 */
import t from 'tap';
import { expectAllKept, expectKept, readRegressions } from '../expect-kept.js';

const FIXED_IN_THE_FAST_PART = 20;
const FIXED = 150;
const FRESH = 3;

void t.test('every schedule that failed once keeps every guarantee', async (t) => {
  for (const { title, schedule } of await readRegressions()) t.ok(await expectKept(t, schedule), title);
});

void t.test('G1 to G8 in more schedules that are always the same', (t) =>
  expectAllKept(t, 'fixed-', FIXED_IN_THE_FAST_PART, FIXED),
);

void t.test('G1 to G8 in more fresh schedules', (t) =>
  expectAllKept(t, `${Date.now().toString(36)}-slow-`, 0, FRESH),
);
