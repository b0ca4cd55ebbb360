/**
 * What people and programs leave on a share, on a real file system: it hides nothing that is whole, and is told by its name.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/host/node-environment.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { OTHER_UUID, tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { hold, publish, type Hold } from '../../fixtures/volume-steps.js';

const EXPIRY = { hostExpiryMs: 60_000, shareId: undefined };

async function shareWithVolume(
  t: Test,
): Promise<{ root: string; volume: string; store: ShareService; held: Hold }> {
  const root = join(await temporaryDirectory(t), 'share');
  const store = createLocalShareStore({
    fs: new NodeFileSystem(),
    root,
    self: hostNamed('kvm-a'),
    clock: systemClock,
    random: { hex: (length) => randomBytes(length).toString('hex'), fraction: () => 0.5 },
  });
  t.teardown(() => store.leave({}));
  await store.initialise({});
  const held = await hold(store);
  await publish(held, 1);
  return { root, volume: join(root, 'volumes', UUID), store, held };
}

async function makeSocket(t: Test, path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
}

t.test(
  'a file among the hosts, or in the place of a volume, hides no other host and no other volume',
  async (t) => {
    const { root, store } = await shareWithVolume(t);
    await writeFile(join(root, 'hosts', 'nohup.out'), '');
    await writeFile(join(root, 'volumes', OTHER_UUID), '');
    const { hosts, volumes, strays } = await store.survey(EXPIRY);
    t.match(hosts, [{ host: 'kvm-a', alive: true }]);
    t.strictSame(volumes, [OTHER_UUID, UUID].sort());
    t.strictSame(strays, ['hosts/nohup.out']);
    t.match(await store.summarise({ uuid: OTHER_UUID }), {
      uuid: OTHER_UUID,
      problem: { code: 'VOLUME_DAMAGED', message: new RegExp(OTHER_UUID) },
    });
    t.match(await store.summarise({ uuid: UUID }), { generations: 1, diverged: 0, problem: undefined });
  },
);

t.test('links, sockets and directories among snapshots and diverged copies hide nothing', async (t) => {
  const { volume, store } = await shareWithVolume(t);
  await mkdir(join(volume, 'pins'), { recursive: true });
  await symlink('nowhere', join(volume, 'pins', 'link.tar.gz'));
  await makeSocket(t, join(volume, 'pins', 'socket.tar.gz'));
  await mkdir(join(volume, 'diverged', 'directory'));
  t.match(await store.pins({ uuid: UUID }), [
    { name: 'link', damage: { code: 'GENERATION_DAMAGED', message: /symbolic link/ } },
    { name: 'socket', damage: { code: 'GENERATION_DAMAGED', message: /socket/ } },
  ]);
  t.match(await store.history({ uuid: UUID }), [{ kind: 'publish', head: true }, { kind: 'claim' }]);
  t.match(await store.verify({ uuid: UUID }), {
    checked: 3,
    damaged: { length: 0 },
    problems: { length: 2 },
  });
  t.match(await store.summarise({ uuid: UUID }), { pins: 2, diverged: 0 });
});

t.test('whatever stands in the place of the marker, it is the marker that is damaged', async (t) => {
  const { root, store } = await shareWithVolume(t);
  const marker = join(root, 'swtpm-mirror.json');
  await rename(marker, join(root, 'kept'));
  for (const make of [
    () => mkdir(marker),
    () => symlink('kept', marker),
    () => writeFile(marker, Buffer.alloc(1e6)),
  ]) {
    await make();
    await t.rejects(store.identify({}), { code: 'VOLUME_DAMAGED', next: /restore the marker/ });
    await rm(marker, { recursive: true });
  }
});

t.test('G5: what is no state where swtpm worked on the share keeps no holder from tidying', async (t) => {
  const { volume, store, held } = await shareWithVolume(t);
  const tidying = { uuid: UUID, epoch: held.epoch, keep: 1 };
  const run = { uuid: UUID, live: held.epoch };
  const directory = join(volume, 'live', '00000001', 'tpm2');
  await store.placeLive({ ...run, capture: tpmCapture(1) });
  await rm(join(directory, 'tpm2-00.permall'));
  await symlink('/etc/hostname', join(directory, 'tpm2-00.permall'));
  await t.rejects(store.readLive(run), { code: 'STATE_INVALID' });
  await mkdir(join(directory, 'TMP2-00.permall'));
  await mkdir(join(directory, 'full', 'directory'), { recursive: true });
  await writeFile(join(volume, 'live', '00000001', 'junk'), '');
  await store.tidy(tidying);
  t.strictSame(await readdir(directory), ['full'], 'what is below a directory of another user stays');
  await rm(join(directory, 'full'), { recursive: true });
  await store.tidy(tidying);
  t.strictSame(await readdir(join(volume, 'live')), []);
});
