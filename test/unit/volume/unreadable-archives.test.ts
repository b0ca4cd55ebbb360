/**
 * One archive that cannot be read, or does not answer, ends neither `verify` nor `history` of its volume.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock, systemRandom } from '../../../src/host/node-environment.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { hostNamed } from '../../fixtures/host-identity.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { UUID } from '../../fixtures/tpm-captures.js';
import { diverge, hold, publish } from '../../fixtures/volume-steps.js';
import { systemError } from '../../sim/system-error.js';

const READ_MS = 100;
const isRoot = process.getuid?.() === 0;

function storeOf(root: string, fs: FileSystem = new NodeFileSystem()): ShareService {
  const context = { fs, root, self: hostNamed('kvm-a'), generationReadMs: READ_MS };
  return createLocalShareStore({ ...context, clock: systemClock, random: systemRandom });
}

interface Volume {
  readonly root: string;
  /** Of the generation in slot 3, the diverged copy of slot 2, and the snapshot of slot 2. */
  readonly paths: readonly string[];
}

/** Slots 1 to 5, with two claims; a snapshot and a diverged copy. */
async function makeVolume(t: Test): Promise<Volume> {
  const root = join(await temporaryDirectory(t), 's');
  const store = storeOf(root);
  await store.initialise({});
  const former = await hold(store);
  await publish(former, 1);
  await store.pin({ uuid: UUID, name: parseSnapshotName('kept'), slot: 'head' });
  await publish(former, 2);
  await publish(await hold(store, 'own'), 3);
  await diverge(former, 9);
  const volume = join(root, 'volumes', UUID);
  const [copy = ''] = await readdir(join(volume, 'diverged'));
  const generation = (await readdir(join(volume, 'gen'))).find((name) => name.startsWith('00000003')) ?? '';
  return {
    root,
    paths: [
      join(volume, 'gen', generation),
      join(volume, 'diverged', copy),
      join(volume, 'pins/kept.tar.gz'),
    ],
  };
}

const ENTRIES = 2_000;

async function crowd(path: string): Promise<void> {
  await mkdir(path);
  for (let at = 0; at < ENTRIES; at++) await writeFile(join(path, String(at)), '');
}

const PLANTS: Readonly<Record<string, (path: string) => unknown>> = {
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a directory': (path) => mkdir(path),
  'a directory of many entries': crowd,
  'a link elsewhere': (path) => symlink('/etc/hostname', path),
  'a link to itself': (path) => symlink(path, path),
  'a device': (path) => execFileSync('mknod', [path, 'c', '1', '3']),
  'an empty file': (path) => writeFile(path, ''),
};

/** What is told: of verify, and of history, where a snapshot's fault shows nowhere. */
async function told(store: ShareService): Promise<{ verify: string[]; history: string[]; checked: number }> {
  const { damaged, problems, checked } = await store.verify({ uuid: UUID });
  const story = await store.history({ uuid: UUID });
  return {
    verify: [...damaged.map(({ error }) => error.message), ...problems.map(({ message }) => message)],
    history: story.flatMap(({ damage }) => (damage ? [damage.message] : [])),
    checked,
  };
}

t.test('whatever stands in one archive’s place is told, and the others are read', async (t) => {
  for (const [name, plant] of Object.entries(PLANTS)) {
    if (name === 'a device' && !isRoot) continue;
    const { root, paths } = await makeVolume(t);
    t.match(await told(storeOf(root)), { verify: [], history: [], checked: 5 });
    const [generation = '', copy = '', pin = ''] = paths;
    for (const [at, path] of [generation, copy].entries()) {
      await rm(path);
      await plant(path);
      const { verify, history, checked } = await told(storeOf(root));
      t.equal(checked, 5, name);
      t.equal(verify.length, at + 1, name);
      t.equal(history.length, at + 1, name);
    }
    await rm(pin);
    await plant(pin);
    t.equal((await told(storeOf(root))).verify.length, 3, `${name}: a snapshot`);
    t.equal((await storeOf(root).pins({ uuid: UUID })).length, 1);
  }
});

const FAULTS: Readonly<Record<string, (proceed: () => Promise<never>) => Promise<never>>> = {
  EIO: () => Promise.reject(systemError('EIO')),
  EACCES: () => Promise.reject(systemError('EACCES')),
  ESTALE: () => Promise.reject(systemError('ESTALE')),
  'no answer': () => new Promise(() => undefined),
};

for (const site of ['open', 'read', 'stat'] as const) {
  t.test(
    `an archive that fails or hangs when it is asked for (${site}) is told, and the others are read`,
    async (t) => {
      const { root, paths } = await makeVolume(t);
      for (const [name, fail] of Object.entries(FAULTS)) {
        for (const [at, bad] of paths.entries()) {
          const fs = interceptFileSystem(new NodeFileSystem(), (call, proceed) =>
            call.path === bad && call.method === site ? fail(proceed as never) : proceed(),
          );
          const { verify, history, checked } = await told(storeOf(root, fs));
          t.equal(checked, 5, name);
          const expected = name === 'no answer' ? /no answer within 100 ms/ : new RegExp(name);
          t.match(verify, [expected], `${name} of ${bad}`);
          t.equal(verify.length, 1);
          t.equal(history.length, at === 2 ? 0 : 1);
        }
      }
    },
  );
}

t.test('more archives that hang than there is time for are told as one finding', async (t) => {
  const { root } = await makeVolume(t);
  const store = storeOf(root);
  const held = await hold(store, 'own');
  for (let number = 20; number < 30; number++) await publish(held, number);
  const fs = interceptFileSystem(new NodeFileSystem(), (call, proceed) =>
    call.site === 'fetch:open' && /\/000000(0[7-9]|1\d)/.test(call.path)
      ? new Promise(() => undefined)
      : proceed(),
  );
  const { verify, history } = await told(storeOf(root, fs));
  t.equal(verify.filter((message) => message.includes('no answer within')).length, 4);
  t.ok(verify.some((message) => /was not read: too much .*nor were \d+ more/.test(message)));
  t.equal(history.length > 4, true, 'each line says it');
});

t.test('a share that does not answer is no verdict', async (t) => {
  const { root } = await makeVolume(t);
  for (const [name, fail] of Object.entries(FAULTS)) {
    let isAway = false;
    const fs = interceptFileSystem(new NodeFileSystem(), (call, proceed) => {
      isAway ||= call.site === 'fetch:open';
      return isAway ? fail(proceed as never) : proceed();
    });
    for (const operation of ['verify', 'history'] as const) {
      isAway = false;
      const asked: Promise<unknown> = storeOf(root, fs)[operation]({ uuid: UUID });
      await t.rejects(asked, { code: /^SHARE_/ }, `${name}: ${operation}`);
    }
  }
});
