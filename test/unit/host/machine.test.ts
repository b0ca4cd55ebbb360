import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readMachine } from '../../../src/host/machine.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { codeOf, put } from '../../fakes/host-rig.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';

const BOOT_ID = '8d41e0f1-0000-4000-8000-000000000001';

/** The file system of a machine with this id. */
async function machineWith(id: string): Promise<FileSystem> {
  const root = await mkdtemp(join(tmpdir(), 'machine-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await put(root, { 'etc/machine-id': id, 'proc/sys/kernel/random/boot_id': `${BOOT_ID}\n` });
  const inner = new NodeFileSystem();
  return {
    ...interceptFileSystem(inner, (_call, proceed) => proceed()),
    open: (site, path, mode) => inner.open(site, join(root, path), mode),
  };
}

t.test('a machine has an id of its own, from which its machine-id cannot be told', async (t) => {
  const a = await readMachine(await machineWith(`${'a'.repeat(32)}\n`));
  const b = await readMachine(await machineWith(`${'b'.repeat(32)}\n`));
  t.match(a, { machineId: /^[0-9a-f]{32}$/, bootId: BOOT_ID });
  t.not(a.machineId, b.machineId);
  t.not(a.machineId, 'a'.repeat(32));
  t.strictSame(await readMachine(await machineWith(`${'a'.repeat(32)}\n`)), a, 'it stays the same');
});

t.test('an image without a machine id is refused', async (t) => {
  t.equal(await codeOf(readMachine(await machineWith(''))), 'HOST_IO');
  t.equal(await codeOf(readMachine(await machineWith('uninitialized\n'))), 'HOST_IO');
});

t.test('the boot id is read from the kernel, whose files have a size of 0', async (t) => {
  const inner = new NodeFileSystem();
  const image = await machineWith(`${'a'.repeat(32)}\n`);
  const fs: FileSystem = {
    ...image,
    open: (site, path, mode) => (path.startsWith('/proc/') ? inner : image).open(site, path, mode),
  };
  t.match((await readMachine(fs)).bootId, /^[0-9a-f]{8}-/);
});
