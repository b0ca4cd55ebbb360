/**
 * A share of the simulator's schedules: those that failed once, some that are always the same, and fresh ones. `slow/` and `npm run sim` play
 * more; a failure here prints the seed with which it plays, shrinks and shows the same schedule again.
 */
import t from 'tap';
import { expectAllKept, expectKept, readRegressions } from './expect-kept.js';
import { play } from './play.js';

/** `slow/` plays all of them. */
const SHARE_OF_REGRESSIONS = 5;
const FIXED = 20;
const FRESH = 2;

void t.test('schedules that failed once keep every guarantee', async (t) => {
  const regressions = await readRegressions();
  for (const { title, schedule } of regressions.filter((_, at) => at % SHARE_OF_REGRESSIONS === 0)) {
    t.ok(await expectKept(t, schedule), title);
  }
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

void t.test('G1 to G8 in schedules that are always the same', (t) => expectAllKept(t, 'fixed-', 0, FIXED));

void t.test('G1 to G8 in fresh schedules', (t) => expectAllKept(t, `${Date.now().toString(36)}-`, 0, FRESH));
