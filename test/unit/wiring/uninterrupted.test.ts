import t from 'tap';
import { uninterrupted } from '../../../src/wiring/uninterrupted.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A signal reaches its listeners in a later turn. */
async function signalled(signal: NodeJS.Signals): Promise<void> {
  const received = new Promise((resolve) => process.once(signal, resolve));
  process.kill(process.pid, signal);
  await received;
}

for (const signal of SIGNALS) {
  t.test(`work that has begun survives a first ${signal}`, async (t) => {
    const before = process.listenerCount(signal);
    const answer = await uninterrupted(async () => {
      await signalled(signal);
      return 'complete';
    });
    t.equal(answer, 'complete');
    t.equal(process.listenerCount(signal), before, 'and nothing listens any more when it has ended');
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
