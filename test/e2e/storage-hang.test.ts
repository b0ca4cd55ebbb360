/**
 * A share that really hangs: its callers sleep in the kernel and not even SIGKILL ends them until it answers again.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import t from 'tap';
import { mountHangingFileSystem } from '../fixtures/hanging-filesystem.js';
import { compileStorageEntry, realStorage } from '../fixtures/real-storage.js';
import { claimCall, inspectCall, publishCall, uuidOf } from '../fixtures/share-calls.js';
import type { TestScope } from '../fixtures/temporary-directory.js';
import { waitUntil } from '../fixtures/wait-until.js';
import type { StorageLimits } from '../../src/storage/storage-limits.js';

const DEADLINE_MS = 1_000;
/** For a test in which healthy work must never be late, on a loaded machine too. */
const PATIENT_DEADLINE_MS = 4_000;
/** What a loaded machine may add to a deadline before this test calls it broken. */
const TOLERANCE_MS = 2_000;
const LIMITS = { startupMs: 10_000, processesMax: 3, backOffFirstMs: 200, backOffMaxMs: 500 };
const GONE_TIMEOUT_MS = 20_000;
/** How long one volume stays sick beside the others, at most. */
const SICKNESS_MS = 40_000;

/** A share with one volume held and published to, on a mount that can hang. */
async function hangingShare(t: TestScope, limits: Partial<StorageLimits> = LIMITS, deadlineMs = DEADLINE_MS) {
  const mount = await mountHangingFileSystem(t);
  const program = await compileStorageEntry(t);
  const storage = realStorage(t, {
    program,
    deadlineMs,
    limits,
    parameters: { root: mount.mountPoint },
  });
  await storage.client.initialise({});
  await storage.client.claim(claimCall('a'));
  await storage.client.publish(publishCall('a', 1, 2));
  return { mount, ...storage };
}

async function endOf(request: Promise<unknown>): Promise<{ code: unknown; tookMs: number }> {
  const began = performance.now();
  const code = await request.then(
    () => 'ok',
    (error: unknown) => (error as { code?: unknown }).code,
  );
  return { code, tookMs: performance.now() - began };
}

/** One letter for each thread, as in `ps`: `D` is an uninterruptible sleep. Nothing for one that ends meanwhile. */
async function threadStates(pid: number | undefined): Promise<string[]> {
  const directory = `/proc/${String(pid)}/task`;
  const threads = await readdir(directory);
  const stats = threads.map((thread) => readFile(join(directory, thread, 'stat'), 'utf8').catch(() => ''));
  return (await Promise.all(stats)).map((stat) => stat.charAt(stat.lastIndexOf(')') + 2));
}

t.test('a hung share ends every request at its deadline and blocks nothing else', async (t) => {
  const { mount, client, living } = await hangingShare(t);
  await mount.hang();

  const requests = [
    endOf(client.beat({ shareId: undefined })),
    endOf(client.publish(publishCall('a', 1, 3))),
    ...['b', 'c', 'd', 'e', 'f'].map((letter) => endOf(client.inspect(inspectCall(letter)))),
  ];
  await waitUntil('the requests to hang in the kernel', DEADLINE_MS, async () =>
    (await mount.hangingCalls()) >= requests.length - 1 ? true : undefined,
  );
  const began = performance.now();
  await readFile(import.meta.filename);
  t.ok(performance.now() - began < 500, 'a local file is read at once');

  const ends = await Promise.all(requests);
  t.same(
    ends.map(({ code }) => code),
    ['SHARE_TIMEOUT', 'OUTCOME_UNKNOWN', ...Array<string>(5).fill('SHARE_TIMEOUT')],
  );
  for (const { tookMs } of ends) {
    t.ok(tookMs >= DEADLINE_MS - 1 && tookMs < DEADLINE_MS + TOLERANCE_MS, `took ${tookMs} ms`);
  }

  const [stuck] = await living();
  const isAsleep = async (): Promise<true | undefined> =>
    (await threadStates(stuck)).includes('D') ? true : undefined;
  t.ok(
    await waitUntil('the killed process to sleep', DEADLINE_MS, isAsleep),
    'SIGKILL does not end a thread that sleeps uninterruptibly',
  );

  await mount.resume();
  await waitUntil('the killed process to be gone', GONE_TIMEOUT_MS, () =>
    client.gauges().processes === 0 ? true : undefined,
  );
  t.same(await living(), []);
});

t.test(
  'processes stay within their number while a share hangs, and it is served again when it answers',
  async (t) => {
    const { mount, client, living } = await hangingShare(t);
    await mount.hang();
    const codes = new Set<unknown>();
    await waitUntil('all processes to be stuck', 30_000, async () => {
      const began = performance.now();
      codes.add((await endOf(client.beat({ shareId: undefined }))).code);
      t.ok(performance.now() - began < LIMITS.startupMs + DEADLINE_MS + TOLERANCE_MS);
      t.ok((await living()).length <= LIMITS.processesMax);
      return client.gauges().stuck === LIMITS.processesMax ? true : undefined;
    });
    t.ok(codes.has('SHARE_TIMEOUT'));
    const refused = await endOf(client.inspect(inspectCall('a')));
    t.equal(refused.code, 'SHARE_UNAVAILABLE');
    t.ok(refused.tookMs < 100, 'with all processes stuck it fails at once');
    t.equal((await living()).length, LIMITS.processesMax, 'not even SIGKILL ended them');

    await mount.resume();
    await waitUntil('the stuck processes to be gone', GONE_TIMEOUT_MS, () =>
      client.gauges().stuck === 0 ? true : undefined,
    );
    t.same(await living(), []);
    const inspection = await waitUntil(
      'the share to be served again',
      LIMITS.backOffMaxMs + TOLERANCE_MS,
      () => client.inspect({ ...inspectCall('a'), withHead: true }).catch(() => undefined),
    );
    t.match(inspection.volume?.head, { kind: 'whole', generation: { name: { slot: 2 } } });
  },
);

t.test('G3 G4: a publish that hung takes place late, and the claim that settles it sees it', async (t) => {
  const { mount, client } = await hangingShare(t);
  const slot = `/volumes/${uuidOf('a')}/log/00000003`;
  await mount.hangChanges(slot);
  const publish = await endOf(client.publish(publishCall('a', 1, 3)));
  t.equal(publish.code, 'OUTCOME_UNKNOWN');
  t.equal(await mount.hangingCalls(), 1, 'the commit sleeps in the kernel');
  await t.rejects(readlink(join(mount.backing, slot)), { code: 'ENOENT' });

  await mount.resume();
  await waitUntil('the commit to take place, its process long killed', GONE_TIMEOUT_MS, () =>
    readlink(join(mount.backing, slot)).catch(() => undefined),
  );
  const claim = await client.claim({ ...claimCall('a'), reason: 'recover', scope: 'own' });
  t.match(claim, { kind: 'claimed', epoch: 4, log: { head: { slot: 3 } } });
});

t.test('one sick volume does not disturb the others', async (t) => {
  const { mount, client } = await hangingShare(
    t,
    { ...LIMITS, backOffFirstMs: 5_000, backOffMaxMs: 5_000 },
    PATIENT_DEADLINE_MS,
  );
  await client.claim(claimCall('b'));
  await mount.hang(`/volumes/${uuidOf('a')}/`);
  const sick = new Set<unknown>();
  const healthy = new Set<unknown>();
  const until = performance.now() + SICKNESS_MS;
  for (let slot = 2; performance.now() < until && !sick.has('SHARE_UNAVAILABLE'); slot++) {
    const [sickEnd, healthyEnd] = await Promise.all([
      endOf(client.inspect(inspectCall('a'))),
      endOf(client.publish(publishCall('b', 1, slot))),
    ]);
    sick.add(sickEnd.code);
    healthy.add(healthyEnd.code);
  }
  t.same([...healthy], ['ok']);
  t.ok(sick.has('SHARE_TIMEOUT'));
  t.ok(sick.has('SHARE_UNAVAILABLE'), 'in the end the sick volume is refused, for the others to be served');

  await mount.resume();
  await waitUntil('the stuck processes to be gone', GONE_TIMEOUT_MS, () =>
    client.gauges().stuck === 0 ? true : undefined,
  );
  await waitUntil('the sick volume to be served again', GONE_TIMEOUT_MS, async () =>
    (await endOf(client.inspect(inspectCall('a')))).code === 'ok' ? true : undefined,
  );
});

t.test('errors of a real file system reach the caller as what they mean', async (t) => {
  const { mount, client } = await hangingShare(t);
  const cases = [
    ['ENOSPC', 'SHARE_FULL'],
    ['EDQUOT', 'SHARE_FULL'],
    ['EACCES', 'SHARE_DENIED'],
    ['EIO', 'SHARE_UNAVAILABLE'],
    ['ESTALE', 'SHARE_UNAVAILABLE'],
  ] as const;
  for (const [errno, code] of cases) {
    await mount.fail(errno, `/volumes/${uuidOf('a')}/gen`);
    await t.rejects(
      client.publish(publishCall('a', 1, 3)),
      { code, message: new RegExp(`${errno}: `) },
      errno,
    );
  }
  await mount.resume();
  t.match(await client.publish(publishCall('a', 1, 3)), { kind: 'committed', slot: 3 });
});

t.test('a slow share is served within its deadline', async (t) => {
  const { mount, client } = await hangingShare(t, LIMITS, PATIENT_DEADLINE_MS);
  await mount.delay(20);
  t.match(await client.publish(publishCall('a', 1, 3)), { kind: 'committed', slot: 3 });
});

t.test('closing the client does not wait for a hung share', async (t) => {
  const { mount, client, living } = await hangingShare(t);
  await mount.hang();
  const publish = endOf(client.publish(publishCall('a', 1, 3)));
  const close = await endOf(client.close());
  t.equal((await publish).code, 'OUTCOME_UNKNOWN');
  t.ok(close.tookMs < DEADLINE_MS + TOLERANCE_MS);
  t.equal((await living()).length, 1, 'it is still stuck');
  await mount.resume();
  await waitUntil('it to be gone', GONE_TIMEOUT_MS, async () =>
    (await living()).length === 0 ? true : undefined,
  );
});
