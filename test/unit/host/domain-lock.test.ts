import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { holdAgentLock, STALE_MS, withDomainLock } from '../../../src/host/domain-lock.js';
import { systemClock } from '../../../src/host/node-environment.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { codeOf, makeHost, OTHER_UUID, UUID } from '../../fakes/host-rig.js';

const NO_WAIT = { purpose: 'test', waitMs: 0 };

t.test('one worker per domain; another learns who it is', async (t) => {
  const { context } = await makeHost(t);
  const result = await withDomainLock(context, UUID, { purpose: 'hook prepare', waitMs: 0 }, async (lost) => {
    t.notOk(lost.aborted);
    await t.rejects(
      withDomainLock(context, UUID, NO_WAIT, async () => t.fail('two workers')),
      { code: 'DOMAIN_BUSY', message: `process ${process.pid} (hook prepare)`, next: /./, retriable: true },
    );
    t.equal(await withDomainLock(context, OTHER_UUID, NO_WAIT, async () => 'other'), 'other');
    return 'done';
  });
  t.equal(result, 'done');
  t.equal(await withDomainLock(context, UUID, NO_WAIT, async () => 'next'), 'next');
});

t.test('the lock is free after work that failed', async (t) => {
  const { context } = await makeHost(t);
  await t.rejects(
    withDomainLock(context, UUID, NO_WAIT, async () => {
      throw new Error('failed');
    }),
    { message: 'failed' },
  );
  t.equal(await withDomainLock(context, UUID, NO_WAIT, async () => 'next'), 'next');
});

t.test('a waiter gets the lock when its holder is done', async (t) => {
  const context = { ...(await makeHost(t)).context, clock: systemClock };
  const order: string[] = [];
  let finish = (): void => undefined;
  const first = withDomainLock(context, UUID, NO_WAIT, async () => {
    await new Promise<void>((resolve) => (finish = resolve));
    order.push('first');
  });
  while ((await readdir(join(context.stateDirectory, 'locks')).catch(() => [])).length < 2) {
    await new Promise(setImmediate);
  }
  const second = withDomainLock(context, UUID, { purpose: 'test', waitMs: 5000 }, async () =>
    order.push('second'),
  );
  setTimeout(() => {
    finish();
  }, 150);
  await Promise.all([first, second]);
  t.strictSame(order, ['first', 'second']);
});

t.test('a lock whose holder died is taken when it is stale, and not before', async (t) => {
  const { context } = await makeHost(t);
  const lock = join(context.stateDirectory, 'locks', `${UUID}.lock`);
  await mkdir(lock, { recursive: true });
  t.equal(await codeOf(withDomainLock(context, UUID, NO_WAIT, async () => 'taken')), 'DOMAIN_BUSY');
  const old = new Date(Date.now() - STALE_MS - 1000);
  await utimes(lock, old, old);
  t.equal(await withDomainLock(context, UUID, NO_WAIT, async () => 'taken'), 'taken');
});

t.test('one agent per host', async (t) => {
  const { context } = await makeHost(t);
  const agent = { ...context, runDirectory: context.stateDirectory };
  const held = await holdAgentLock(agent, { purpose: 'agent', waitMs: 0 });
  t.equal(await codeOf(holdAgentLock(agent, NO_WAIT)), 'DOMAIN_BUSY');
  await held.release();
  await (await holdAgentLock(agent, NO_WAIT)).release();
});

t.test('a state directory that is missing is HOST_IO', async (t) => {
  const { context } = await makeHost(t);
  const missing = { ...context, stateDirectory: join(context.stateDirectory, 'missing') };
  t.equal(await codeOf(withDomainLock(missing, UUID, NO_WAIT, async () => 'held')), 'HOST_IO');
});

t.test('a dead lock from before the clock was set back is taken, one that is refreshed is not', async (t) => {
  // Its clock is months behind that of the file system.
  const { context } = await makeHost(t);
  const lock = join(context.stateDirectory, 'locks', `${UUID}.lock`);
  await mkdir(lock, { recursive: true });
  const patient = { purpose: 'test', waitMs: 2 * STALE_MS };
  const impatient = { purpose: 'test', waitMs: STALE_MS / 2 };
  t.equal(await codeOf(withDomainLock(context, UUID, impatient, async () => 'taken')), 'DOMAIN_BUSY');
  let looks = 0;
  const fs = interceptFileSystem(context.fs, async (call, proceed) => {
    const time = new Date(Date.now() + ++looks);
    if (call.site === 'lock:lstat') await utimes(lock, time, time);
    return await proceed();
  });
  const refreshed = withDomainLock({ ...context, fs }, UUID, patient, async () => 'taken');
  t.equal(await codeOf(refreshed), 'DOMAIN_BUSY');
  t.equal(await withDomainLock(context, UUID, patient, async () => 'taken'), 'taken');
});

t.test('what keeps a lock from being made is told at once', async (t) => {
  const context = { ...(await makeHost(t)).context, clock: systemClock };
  const runDirectory = join(context.stateDirectory, 'a-file');
  await writeFile(runDirectory, '');
  const began = performance.now();
  const held = holdAgentLock({ ...context, runDirectory }, { purpose: 'agent', waitMs: 60_000 });
  t.equal(await codeOf(held), 'HOST_IO');
  t.ok(performance.now() - began < 10_000);
});
