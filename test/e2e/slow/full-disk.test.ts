/**
 * Full disks, real and small: the share's at every step of a publish, and this host's own. No generation is torn, no state is lost, the operator
 * learns what to do, and when there is space again all goes on by itself.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { mountHangingFileSystem } from '../../fixtures/hanging-filesystem.js';
import type { HostFixture } from '../../fixtures/host.js';
import { mount } from '../../fixtures/mount.js';
import { runChecked } from '../../fixtures/process.js';
import {
  hostOn,
  memoryOnShare,
  mirroredVm,
  troubledHost,
  untilDomain,
  untilSafe,
  untilStatus,
} from '../../fixtures/share-outage.js';
import { uuidOf } from '../../fixtures/share-calls.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import type { VirtualMachine } from '../../fixtures/virtual-machine.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const PAGE_BYTES = 4096;
const NV_BYTES_MAX = 2048;
const RESERVE_TIMEOUT_MS = 40_000;

const KIB = 1024;

interface SmallDisk {
  readonly kind: 'tmpfs' | 'ext4';
  readonly kib: number;
}

const SMALL: SmallDisk = { kind: 'tmpfs', kib: 512 };
/** Room for a reserve. Here a directory takes a block, too. */
const WITH_RESERVE: SmallDisk = { kind: 'ext4', kib: 8192 };

/** A file system that holds so much, and some dozens of files, for the length of a test. */
async function mountSmall(t: TestScope, { kind, kib }: SmallDisk, path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  if (kind === 'tmpfs') {
    await mount(t, ['-t', 'tmpfs', '-o', `size=${kib}k,nr_inodes=100`, 'tmpfs'], path);
  } else {
    const image = join(await temporaryDirectory(t), 'image');
    await writeFile(image, '');
    await truncate(image, kib * KIB);
    await runChecked('mke2fs', [
      '-q',
      '-t',
      'ext4',
      '-O',
      '^has_journal',
      '-m',
      '0',
      '-b',
      '1024',
      '-N',
      '96',
      image,
    ]);
    await mount(t, ['-o', 'loop', image], path);
  }
}

/** Takes what a file system has left, but for some; the result gives it back. */
async function fill(
  path: string,
  left: { readonly files: number } | { readonly bytes: number },
): Promise<() => Promise<void>> {
  const filler = join(path, 'filler');
  await mkdir(filler);
  if ('files' in left) {
    for (let count = 0; await write(join(filler, String(count)), 0); count++);
    for (let count = 0; count < left.files; count++) await rm(join(filler, String(count)));
  } else {
    const file = join(filler, 'bytes');
    let size = 0;
    for (const bytes of [64 * KIB, KIB]) while (await write(file, bytes)) size += bytes;
    await truncate(file, Math.max(0, size - left.bytes));
  }
  return () => rm(filler, { recursive: true });
}

/** Appends so many bytes, durably; `false` when they do not fit. */
async function write(path: string, bytes: number): Promise<boolean> {
  try {
    const file = await open(path, 'a');
    try {
      await file.write(Buffer.alloc(bytes, 1));
      await file.sync();
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}

/** Gives the TPM a state whose archive takes several pages. */
async function growState(vm: VirtualMachine): Promise<void> {
  for (const index of [0x01500020, 0x01500021, 0x01500022]) {
    await vm.tpm.nvDefine(index, NV_BYTES_MAX);
    await vm.tpm.nvWrite(index, randomBytes(NV_BYTES_MAX));
  }
  await untilSafe(vm, 'share');
}

t.test(
  'G1 G5: a share that is full, at whatever step of a publish, tears nothing and loses nothing',
  async (t) => {
    for (const disk of [SMALL, { kind: 'ext4', kib: 1024 } as const]) {
      await t.test(disk.kind, async (t) => {
        const share = join(await temporaryDirectory(t), 'share');
        await mountSmall(t, disk, share);
        const { host } = await troubledHost(t, share);
        const { vm } = await mirroredVm(t, host, 'before');
        await growState(vm);
        // No file can be made; one, but no slot; no byte can be written; some, but not all.
        for (const left of [{ files: 0 }, { files: 1 }, { bytes: 0 }, { bytes: PAGE_BYTES }]) {
          await t.test(`left: ${JSON.stringify(left)}`, async (t) => {
            const before = await vm.recollect();
            const clear = await fill(share, left);
            const memory = await vm.change(JSON.stringify(left));
            const { attention } = await untilSafe(vm, 'spool');
            t.match(attention, [{ code: 'SHARE_FULL', next: /free space or inodes on the share/ }]);
            t.match((await host.run(['status'])).stdout, /SHARE_FULL/);
            t.same(await memoryOnShare(t, host, vm), before, 'the head is the one before');
            t.match(await host.run(['verify', vm.uuid]), { status: 0, stdout: / 0 damaged/ });
            await clear();
            await untilSafe(vm, 'share', ({ attention }) => attention.length === 0);
            t.same(await memoryOnShare(t, host, vm), memory);
            t.match(await host.run(['verify', vm.uuid]), { status: 0, stdout: / 0 damaged/ });
          });
        }
      });
    }
  },
);

/** A host whose state directory is a small file system of its own, on a share that can hang. */
async function smallHost(t: TestScope, disk = SMALL) {
  const away = await mountHangingFileSystem(t);
  const base = await temporaryDirectory(t);
  const host = await hostOn(base, 'kvm-a', away.mountPoint, { limits: { spool_bytes: '1MiB' } });
  await mountSmall(t, disk, host.stateDirectory);
  const init = await host.run(['share', 'init', away.mountPoint]);
  if (init.status !== 0) throw new Error(init.stderr);
  return { away, host, agent: await host.startAgent(t) };
}

t.test(
  'G5: with a full disk of its own a host goes on publishing, and says what it cannot remember',
  async (t) => {
    const { host } = await smallHost(t);
    const { vm } = await mirroredVm(t, host, 'before');
    const clear = await fill(host.stateDirectory, { bytes: 0 });
    const memory = await vm.change('with a full disk');
    const { attention } = await untilSafe(vm, 'share', ({ attention }) => attention.length > 0);
    t.match(attention, [{ code: 'HOST_IO', next: /free space/ }]);
    t.same(await memoryOnShare(t, host, vm), memory);
    t.match(await vm.ask('stopped', { reason: 'shutdown' }), {
      status: 500,
      body: { error: { code: 'HOST_IO' } },
    });
    await clear();
    t.match(await vm.ask('stopped', { reason: 'shutdown' }), { status: 200 });
  },
);

t.test(
  'G5: with the share away and a full disk of its own a host keeps the state where it is, and says so',
  async (t) => {
    const { away, host, agent } = await smallHost(t);
    const { vm } = await mirroredVm(t, host, 'before');
    await away.hang();
    const clear = await fill(host.stateDirectory, { bytes: 0 });
    const memory = await vm.change('nowhere else');
    const { attention } = await untilDomain(vm, 'the failure of the spool', (domain) =>
      domain.attention.some(({ code }) => code === 'HOST_IO'),
    );
    t.match(
      attention.find(({ code }) => code === 'HOST_IO'),
      { message: /spool .*ENOSPC/, next: /free space/ },
    );
    await vm.powerOff();
    const stopped = await vm.ask('stopped', { reason: 'shutdown' });
    t.match(
      stopped,
      { status: 500, body: { error: { code: 'HOST_IO' } } },
      'a stop that left nothing durable is no success',
    );
    t.equal((await agent.request({ path: '/healthz' })).status, 200);
    await clear();
    await untilDomain(vm, 'the final state to be in the spool', ({ pending }) => pending === 'spooled');
    await vm.deleteDirectory();
    await away.resume();
    await untilDomain(
      vm,
      'the final state to be on the share',
      ({ pending, state }) => pending === 'none' && state === 'stopped',
    );
    t.same(await memoryOnShare(t, host, vm), memory);
  },
);

t.test(
  'G5: a host whose disk was filled meanwhile hands what it has spooled to the share all the same',
  async (t) => {
    const { away, host, agent } = await smallHost(t, WITH_RESERVE);
    const { vm } = await mirroredVm(t, host, 'before');
    const reserve = join(host.stateDirectory, 'reserve');
    await waitUntil('the reserve', RESERVE_TIMEOUT_MS, () => lstat(reserve).catch(() => undefined));
    await away.hang();
    const memory = await vm.change('spooled');
    await untilSafe(vm, 'spool');
    await vm.powerOff();
    await agent.kill();
    await fill(host.stateDirectory, { bytes: 0 });
    await away.resume();
    await host.startAgent(t);
    await untilDomain(vm, 'the final state to be on the share', ({ pending }) => pending === 'none');
    t.same(await memoryOnShare(t, host, vm), memory);
  },
);

t.test('G5: a spool that has reached its bound says so, and goes on when there is room', async (t) => {
  const away = await mountHangingFileSystem(t);
  const { host } = await troubledHost(t, away.mountPoint, { settings: { limits: { spool_bytes: '1MiB' } } });
  const { vm } = await mirroredVm(t, host, 'before');
  const kept = join(host.stateDirectory, 'spool', uuidOf('f'));
  await mkdir(kept, { recursive: true });
  await writeFile(
    join(kept, `0000000001-${'0'.repeat(16)}-${'0'.repeat(16)}.tar.gz`),
    Buffer.alloc(1024 * 1024),
  );
  await away.hang();
  const memory = await vm.change('too much for the spool');
  const { attention } = await untilDomain(vm, 'the failure of the spool', (domain) =>
    domain.attention.some(({ code }) => code === 'SPOOL_FULL'),
  );
  t.match(
    attention.find(({ code }) => code === 'SPOOL_FULL'),
    { next: /bring the share back/ },
  );
  await rm(kept, { recursive: true });
  await untilSafe(vm, 'spool');
  await away.resume();
  await untilSafe(vm, 'share');
  t.same(await memoryOnShare(t, host, vm), memory);
});

t.test(
  'a disk too full for the restored state refuses the start, gives the volume back and leaves nothing half done',
  async (t) => {
    const base = await temporaryDirectory(t);
    const share = join(await temporaryDirectory(t), 'share');
    const { host } = await troubledHost(t, share);
    const { vm, memory } = await mirroredVm(t, host, 'before');
    await vm.stop({ transient: true });
    const other = await smallSwtpmHost(t, base, share);
    const clear = await fill(other.swtpmDirectory, { bytes: 0 });
    const refused = await other.run(['domain', 'prepare', vm.uuid]);
    t.match(refused, { status: 1, stderr: /^swtpm-mirror: HOST_IO: .*ENOSPC/ });
    await vm.start();
    t.same(await vm.recollect(), memory, 'the host that it ran on can start it');
    await vm.stop({ transient: true });
    await clear();
    t.match(await other.run(['domain', 'prepare', vm.uuid]), { status: 0 });
  },
);

async function smallSwtpmHost(t: TestScope, base: string, share: string): Promise<HostFixture> {
  const host = await hostOn(base, 'kvm-b', share);
  await mountSmall(t, SMALL, host.swtpmDirectory);
  await host.startAgent(t);
  await untilStatus(host, 'the share to be online', ({ share }) => share.state === 'online');
  return host;
}
