import t from 'tap';
import { Pace } from '../../../src/agent/domain/pace.js';
import { ManualClock } from '../../fakes/manual-clock.js';

const INTERVAL_MS = 100;

t.test(
  'what comes after a rest waits for nothing, and what follows it closely for the interval',
  async (t) => {
    const clock = new ManualClock();
    const pace = new Pace(clock, INTERVAL_MS);
    const readAtMs: number[] = [];
    const read = async (): Promise<void> => {
      await pace.next();
      readAtMs.push(clock.monotonicMs());
    };
    const startedMs = clock.monotonicMs();
    await read();
    const second = read();
    await clock.advance(INTERVAL_MS);
    await second;
    await clock.advance(30);
    const third = read();
    await clock.advance(INTERVAL_MS - 30);
    await third;
    await clock.advance(10 * INTERVAL_MS);
    await read();
    t.strictSame(
      readAtMs.map((atMs) => atMs - startedMs),
      [0, 100, 200, 1200],
    );
    t.equal(clock.pending, 0);
  },
);

t.test('no interval, no wait', async (t) => {
  const clock = new ManualClock();
  const pace = new Pace(clock, 0);
  await pace.next();
  await pace.next();
  t.equal(clock.pending, 0);
});
