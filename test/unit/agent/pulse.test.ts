/**
 * An agent that stands still reads its file events when it goes on: how late, nothing in them tells. Played on virtual time with a process that is
 * paused, as SIGSTOP does it: whatever came meanwhile reaches it afterwards, in the order in which it came.
 */
import fc from 'fast-check';
import t from 'tap';
import { Pulse } from '../../../src/agent/pulse.js';
import { HostClock, VirtualClock } from '../../sim/clock.js';
import { SimulatedProcess } from '../../sim/process.js';

/** A change is told no later than this after it is said to have happened, whatever stalls there are. */
const EARLIEST_MS = 900;

interface Stall {
  readonly afterMs: number;
  readonly forMs: number;
}

interface Noticed {
  readonly changedMs: number;
  readonly sinceMs: number;
  readonly noticedMs: number;
}

/** Changes every `everyMs`, and how each is noticed. */
async function notice(stalls: readonly Stall[], everyMs: number): Promise<readonly Noticed[]> {
  const time = new VirtualClock();
  const process = new SimulatedProcess('kvm-a');
  const pulse = new Pulse(new HostClock(time, process));
  const noticed: Noticed[] = [];
  pulse.begin();
  let endMs = 0;
  for (const { afterMs, forMs } of stalls) {
    time.after(endMs + afterMs, () => {
      process.pause();
    });
    endMs += afterMs + forMs;
    time.after(endMs, () => {
      process.resume();
    });
  }
  for (let changedMs = everyMs; changedMs < endMs + 5000; changedMs += everyMs) {
    time.after(changedMs, () => {
      process.run(() => {
        noticed.push({ changedMs, sinceMs: pulse.noticedSinceMs(), noticedMs: time.nowMs });
      });
    });
  }
  await time.run(endMs + 10_000);
  pulse.close();
  return noticed;
}

t.test(
  'G5: no change is said to have happened long after it did, whatever stood still and when',
  async () => {
    const stall = fc.record({
      afterMs: fc.integer({ min: 1, max: 4000 }),
      forMs: fc.oneof(fc.integer({ min: 1, max: 1500 }), fc.integer({ min: 1500, max: 600_000 })),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(stall, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 20, max: 900 }),
        async (stalls, everyMs) => {
          const shortest = Math.max(everyMs, stalls.reduce((sum, { forMs }) => sum + forMs, 0) / 500);
          for (const { changedMs, sinceMs } of await notice(stalls, Math.ceil(shortest))) {
            if (sinceMs - changedMs > EARLIEST_MS) {
              throw new Error(`${changedMs} is said to be of ${sinceMs}`);
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  },
);

t.test('a program that runs dates what it notices by its clock', async (t) => {
  for (const { sinceMs, noticedMs } of await notice([{ afterMs: 2000, forMs: 100 }], 70)) {
    t.equal(sinceMs, noticedMs);
  }
});

t.test('a stall is over with the first beat in time', async (t) => {
  const noticed = await notice([{ afterMs: 2100, forMs: 60_000 }], 100);
  const late = noticed.filter(({ sinceMs, noticedMs }) => sinceMs < noticedMs);
  t.ok(late.length > 500);
  for (const { sinceMs, noticedMs } of late) {
    t.equal(sinceMs, 2000, 'the last beat before it');
    t.ok(noticedMs < 63_200);
  }
});

t.test('before it begins and after it was closed it says nothing but the time', async (t) => {
  const time = new VirtualClock();
  const pulse = new Pulse(new HostClock(time, new SimulatedProcess('kvm-a')));
  await time.run(5000);
  t.equal(pulse.noticedSinceMs(), 5000);
  pulse.begin();
  pulse.close();
  await time.run(9000);
  t.equal(pulse.noticedSinceMs(), 9000);
});
