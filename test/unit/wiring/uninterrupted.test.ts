import t, { type Test } from 'tap';
import { uninterrupted } from '../../../src/wiring/uninterrupted.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The test runner ends at a signal, too. */
function nobodyElseListens(t: Test, signal: NodeJS.Signals): void {
  const others = process.rawListeners(signal) as NodeJS.SignalsListener[];
  process.removeAllListeners(signal);
  t.teardown(() => {
    for (const listener of others) process.on(signal, listener);
  });
}

/** A signal reaches its listeners in a later turn, for which nothing else would keep this process. */
async function signalled(signal: NodeJS.Signals): Promise<void> {
  const stay = setTimeout(() => undefined, 60_000);
  const received = new Promise((resolve) => process.once(signal, resolve));
  process.kill(process.pid, signal);
  await received;
  clearTimeout(stay);
}

for (const signal of SIGNALS) {
  t.test(`work that has begun survives a first ${signal}`, async (t) => {
    nobodyElseListens(t, signal);
    const answer = await uninterrupted(async () => {
      await signalled(signal);
      return 'complete';
    });
    t.equal(answer, 'complete');
    t.equal(process.listenerCount(signal), 0, 'and nothing listens any more when it has ended');
  });
}

t.test('work that fails says so, and nothing listens any more', async (t) => {
  const before = process.listenerCount('SIGINT');
  await t.rejects(
    uninterrupted(() => Promise.reject(new Error('the share is full'))),
    { message: 'the share is full' },
  );
  t.equal(process.listenerCount('SIGINT'), before);
});
