import { hostNamed } from '../../fixtures/host-identity.js';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import { compileStorageEntry, realStorage } from '../../fixtures/real-storage.js';
import { claimCall, publishCall, uuidOf } from '../../fixtures/share-calls.js';
import { systemClock, systemRandom } from '../../../src/host/node-environment.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const DEADLINE_MS = 10_000;
const isRoot = process.getuid?.() === 0;

const program = await compileStorageEntry(t);

/** A directory that every user can reach and that `uid` owns. */
async function shareDirectory(t: TestScope): Promise<string> {
  const root = join(await temporaryDirectory(t), 'share');
  await mkdir(root, { mode: 0o700 });
  return root;
}

function statusOf(pid: number | undefined): Promise<string> {
  return readFile(`/proc/${String(pid)}/status`, 'utf8');
}

t.test('G1: state goes to the share and comes back byte for byte, through real processes', async (t) => {
  const root = await shareDirectory(t);
  const { client } = realStorage(t, { program, deadlineMs: DEADLINE_MS, parameters: { root } });
  const identity = await client.initialise({});
  t.same(await client.identify({}), identity);
  t.type((await client.beat({ shareId: identity.id })).latencyMs, 'number');
  const claimed = await client.claim(claimCall('a'));
  t.match(claimed, { kind: 'claimed', epoch: 1 });
  const publish = publishCall('a', 1, 2);
  t.same(await client.publish(publish), { kind: 'committed', slot: 2 });

  const { generation } = await client.fetch({ uuid: uuidOf('a'), slot: 'head', fallBack: false });
  const [file] = generation.capture.files;
  t.ok(file?.data instanceof Uint8Array, 'bytes stay bytes on the way');
  t.same(
    generation.capture.files.map((file) => ({ ...file, data: Uint8Array.from(file.data) })),
    publish.capture.files,
  );

  const direct = createLocalShareStore({
    fs: new NodeFileSystem(),
    root,
    self: hostNamed('kvm-b'),
    clock: systemClock,
    random: systemRandom,
  });
  t.same(await direct.list({}), [uuidOf('a')], 'what the storage process did is on the share');
});

t.test('a refusal of the share arrives as it was given', async (t) => {
  const root = await shareDirectory(t);
  const { client } = realStorage(t, { program, deadlineMs: DEADLINE_MS, parameters: { root } });
  await t.rejects(client.identify({}), {
    code: 'SHARE_NOT_INITIALIZED',
    name: 'MirrorError',
    retriable: false,
  });
});

t.test(
  'the storage process keeps to itself: directory, descriptors, mask, signals, core dumps',
  async (t) => {
    const root = await shareDirectory(t);
    const { client, events } = realStorage(t, { program, deadlineMs: DEADLINE_MS, parameters: { root } });
    await client.initialise({});
    const pid = events.find((event) => event.kind === 'process-ready')?.pid;
    const status = await statusOf(pid);
    t.match(status, /^Umask:\t0077$/m);
    t.equal((await readFile(`/proc/${String(pid)}/coredump_filter`, 'utf8')).trim(), '00000000');
    t.notMatch(await readFile(`/proc/${String(pid)}/environ`, 'utf8'), /PATH=|HOME=/);
    for (const descriptor of [0, 1]) {
      t.equal(
        await readlink(`/proc/${String(pid)}/fd/${descriptor}`),
        '/dev/null',
        'libvirt waits for nobody',
      );
    }
    t.not(await readlink(`/proc/${String(pid)}/fd/2`), await readlink('/proc/self/fd/2'));
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(Number(pid), signal);
    await client.identify({});
    t.equal(events.filter(({ kind }) => kind === 'process-started').length, 1, 'it serves on after a signal');
  },
);

t.test(
  'it works on the share as the configured user and group',
  { skip: isRoot ? false : 'needs root' },
  async (t) => {
    const directory = await temporaryDirectory(t);
    await chmod(directory, 0o755);
    const root = join(directory, 'share');
    await mkdir(root, { mode: 0o700 });
    await chown(root, 36, 36);
    const { client, events } = realStorage(t, {
      program,
      deadlineMs: DEADLINE_MS,
      parameters: { root, uid: 36, gid: 36 },
    });
    await client.initialise({});
    t.match(await stat(join(root, 'swtpm-mirror.json')), { uid: 36, gid: 36 });
    const status = await statusOf(events.find((event) => event.kind === 'process-ready')?.pid);
    t.match(status, /^Uid:\t36\t36\t36\t36$/m);
    t.match(status, /^Gid:\t36\t36\t36\t36$/m);
    t.match(status, /^Groups:\t36 $/m);
  },
);

t.test(
  'a crash is told with its last words, and the next request is served by another process',
  async (t) => {
    const root = await shareDirectory(t);
    const parameters = { root, self: hostNamed('crash') };
    const { client, events } = realStorage(t, { program, deadlineMs: DEADLINE_MS, parameters });
    await client.initialise({});
    await t.rejects(client.leave({}), {
      code: 'SHARE_UNAVAILABLE',
      message: /ended \(SIGKILL: .*told to crash/s,
    });
    await client.identify({});
    t.equal(events.filter(({ kind }) => kind === 'process-started').length, 2);
  },
);

t.test('a program that is not there is a failed start with its reason', async (t) => {
  const { client } = realStorage(t, {
    program: '/nonexistent/program.cjs',
    deadlineMs: DEADLINE_MS,
    parameters: { root: '/nonexistent' },
  });
  await t.rejects(client.identify({}), {
    code: 'SHARE_UNAVAILABLE',
    message:
      /cannot start the storage process: exit status 1: .*Cannot find module '\/nonexistent\/program.cjs'/s,
  });
});

t.test('a storage process ends with its client', async (t) => {
  const root = await shareDirectory(t);
  const { client, living } = realStorage(t, { program, deadlineMs: DEADLINE_MS, parameters: { root } });
  await client.initialise({});
  t.equal((await living()).length, 1);
  await client.close();
  await waitUntil('the storage process to be gone', 5_000, () =>
    client.gauges().processes === 0 ? true : undefined,
  );
  t.same(await living(), []);
});

t.test('a storage process does not outlive its parent', async () => {
  const child = fork(program, ['storage-process'], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: [],
  });
  child.send({
    kind: 'start',
    parameters: { root: '/nonexistent', self: hostNamed('kvm-a'), uid: 0, gid: 0 },
  });
  t.same(await once(child, 'message').then(([message]: unknown[]) => message), { kind: 'ready' });
  child.disconnect();
  t.same(await once(child, 'exit'), [null, 'SIGKILL']);
});
