import * as fc from 'fast-check';
import t from 'tap';
import { HostWatch, ShareTime } from '../../../src/volume/host-watch.js';

const EXPIRY_MS = 1000;

const anyRead = fc.record({
  /** Between the end of the read before and the question. */
  pauseMs: fc.nat(400),
  /** From the question to the moment at which the file said what is answered. */
  onTheWayMs: fc.nat(600),
  /** From there to the answer. */
  backMs: fc.nat(600),
});

t.test(
  'a host counts as silent only for as long as its beat really stood still, however late answers come',
  (t) => {
    fc.assert(
      fc.property(
        fc.array(anyRead, { minLength: 2, maxLength: 20 }),
        fc.integer({ min: 1, max: 900 }),
        (reads, beatEveryMs) => {
          let nowMs = 0;
          const time = new ShareTime({ monotonicMs: () => nowMs }, EXPIRY_MS / 2);
          const watch = new HostWatch(time);
          for (const { pauseMs, onTheWayMs, backMs } of reads) {
            // Other answers come all the time: the share answers this host.
            for (const untilMs = nowMs + pauseMs; nowMs < untilMs; nowMs += 1) time.answered();
            const askedMs = time.now;
            for (const untilMs = nowMs + onTheWayMs; nowMs < untilMs; nowMs += 1) time.answered();
            const beat = Math.floor(nowMs / beatEveryMs);
            const stoodStillMs = nowMs - beat * beatEveryMs;
            for (const untilMs = nowMs + backMs; nowMs < untilMs; nowMs += 1) time.answered();
            if (watch.saw('kvm-b', `beat ${String(beat)}`, askedMs) > stoodStillMs) return false;
          }
          return true;
        },
      ),
    );
    t.end();
  },
);

t.test('a host whose beat never changes is silent for as long as it was watched', (t) => {
  let nowMs = 0;
  const time = new ShareTime({ monotonicMs: () => nowMs }, EXPIRY_MS / 2);
  const watch = new HostWatch(time);
  watch.saw('kvm-b', 'the last beat', time.now);
  for (nowMs = 0; nowMs < 5 * EXPIRY_MS; nowMs += 100) time.answered();
  t.equal(watch.saw('kvm-b', 'the last beat', time.now), 5 * EXPIRY_MS - 100);
  watch.saw('kvm-b', 'another beat', time.now);
  t.equal(watch.saw('kvm-b', 'another beat', time.now), 0);
  t.end();
});
