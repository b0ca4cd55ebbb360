/**
 * Links on the share, put there by somebody who can write to it: nothing outside the share is
 * written, read into it, or deleted, whatever the operation and whenever the link appears.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/host/node-environment.js';
import { asMirrorError } from '../../../src/model/errors.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { mount } from '../../fixtures/mount.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { treeDigest } from '../../fixtures/tree-digest.js';
import { claimCall, headNumber, hold, publish, type Hold } from '../../fixtures/volume-steps.js';

const isRoot = process.getuid?.() === 0;
const KEPT = parseSnapshotName('kept');
/** Hundreds of shares are made, each of which syncs what it writes. */
const MEMORY = fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const TAMPERED = { code: 'SHARE_TAMPERED' };

interface Place {
  readonly root: string;
  readonly volume: string;
  /** A tree with everything in it that a volume or a host's directory has. */
  readonly canary: string;
  readonly store: ShareService;
  /** Called before each call of the file system, with its call site. */
  intrude: (site: string) => void;
  expectWhole(what?: string): void;
}

/** A share that is made, and what is called before each call of its file system. */
async function openStore(
  root: string,
): Promise<{ store: ShareService; intrusion: { before: Place['intrude'] } }> {
  const intrusion = { before: (): void => undefined } as { before: Place['intrude'] };
  const store = createLocalShareStore({
    fs: interceptFileSystem(new NodeFileSystem(), async ({ site }, proceed) => {
      intrusion.before(site);
      return await proceed();
    }),
    root,
    self: hostNamed('kvm-a'),
    clock: systemClock,
    random: { hex: (length) => randomBytes(length).toString('hex'), fraction: () => 0.5 },
  });
  await store.initialise({});
  return { store, intrusion };
}

async function place(t: Test): Promise<Place> {
  const directory = fs.mkdtempSync(join(MEMORY, 'planted-'));
  t.teardown(() => fs.rmSync(directory, { recursive: true, force: true }));
  const [root, canary] = [join(directory, 'share'), join(directory, 'canary')];
  for (const name of ['log', 'gen', 'pins', 'diverged', 'live/00000001/tpm2', 'tpm2']) {
    fs.mkdirSync(join(canary, name), { recursive: true });
    fs.writeFileSync(join(canary, name, 'secret'), 'canary');
  }
  for (const name of ['heartbeat', 'host.json', 'secret']) fs.writeFileSync(join(canary, name), 'canary');
  const foreign = readStateBlob('fresh-b.permall');
  for (const name of ['tpm2', 'live/00000001/tpm2']) {
    fs.writeFileSync(join(canary, name, 'tpm2-00.permall'), foreign.data);
  }
  const { store, intrusion } = await openStore(root);
  const whole = treeDigest(canary);
  t.teardown(() => store.leave({}).catch(() => undefined));
  return {
    root,
    volume: join(root, 'volumes', UUID),
    canary,
    store,
    set intrude(before: Place['intrude']) {
      intrusion.before = before;
    },
    expectWhole: (what = 'the canary') => {
      t.equal(treeDigest(canary), whole, what);
      t.notOk(filesOf(root).some((path) => fs.readFileSync(path).includes('canary')));
    },
  };
}

function filesOf(root: string): string[] {
  const entries = fs.readdirSync(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

/** Puts a link in the place of whatever is there. */
function swap(path: string, target: string): void {
  if (fs.existsSync(path)) fs.renameSync(path, `${path}.aside`);
  fs.symlinkSync(target, path);
}

function tidying(held: Hold) {
  return { uuid: UUID, epoch: held.epoch, keep: 1 };
}

t.test("G7: tidying deletes nothing through a link in a run's place", async (t) => {
  const { volume, canary, store, expectWhole } = await place(t);
  const held = await hold(store);
  await publish(held, 1);
  fs.mkdirSync(join(volume, 'live'));
  fs.symlinkSync(canary, join(volume, 'live', '00000001'));
  fs.symlinkSync(join(canary, 'live'), join(volume, 'elsewhere'));
  const later = await hold(store, 'free', UUID, 'compact');
  await publish(later, 2);
  await t.rejects(store.tidy(tidying(later)), {
    ...TAMPERED,
    message: new RegExp(`${volume}/live/00000001: it is a symbolic link`),
    next: /move it out of the way/,
  });
  expectWhole();
  fs.unlinkSync(join(volume, 'live', '00000001'));
  swap(join(volume, 'live'), join(canary, 'live'));
  await t.rejects(store.tidy(tidying(later)), TAMPERED);
  expectWhole();
  t.strictSame(fs.readdirSync(join(volume, 'diverged')), [], "no other TPM's state was taken");
});

t.test("G7: what is linked into a run's directory is neither read nor deleted", async (t) => {
  const { volume, canary, store } = await place(t);
  const held = await hold(store);
  await publish(held, 1);
  const run = { uuid: UUID, live: held.epoch };
  const directory = join(volume, 'live', '00000001');
  for (const plant of [
    () => fs.symlinkSync(join(canary, 'tpm2'), join(directory, 'tpm2')),
    () => fs.linkSync(join(canary, 'tpm2', 'tpm2-00.permall'), join(directory, 'tpm2', 'tpm2-00.permall')),
  ]) {
    await store.placeLive({ ...run, capture: tpmCapture(1) });
    fs.rmSync(join(directory, 'tpm2'), { recursive: true });
    const isLink = plant.toString().includes('symlink');
    if (!isLink) fs.mkdirSync(join(directory, 'tpm2'));
    plant();
    await t.rejects(store.readLive(run), { code: isLink ? 'SHARE_TAMPERED' : 'STATE_INVALID' });
    await store.removeLive(run).catch((error: unknown) => {
      t.match(error, TAMPERED);
    });
    fs.rmSync(directory, { recursive: true, force: true });
  }
  t.equal(fs.readFileSync(join(canary, 'tpm2', 'secret'), 'utf8'), 'canary');
  const state = fs.readFileSync(join(canary, 'tpm2', 'tpm2-00.permall'));
  t.equal(Buffer.compare(state, readStateBlob('fresh-b.permall').data), 0);
});

t.test('G7: a volume that is a link, for a new VM, is neither written nor purged through', async (t) => {
  const { root, volume, canary, store, expectWhole } = await place(t);
  fs.symlinkSync(canary, volume);
  await t.rejects(store.claim(claimCall()), { ...TAMPERED, message: new RegExp(volume) });
  await t.rejects(store.inspect({ ...claimCall(), withHead: true, since: 0 }), TAMPERED);
  t.match(await store.summarise({ uuid: UUID }), { problem: TAMPERED });
  await t.rejects(store.purge({ uuid: UUID, unread: false, hostExpiryMs: 1, shareId: undefined }), TAMPERED);
  expectWhole('after a purge that was refused');
  await store.purge({ uuid: UUID, unread: true, hostExpiryMs: 1, shareId: undefined });
  expectWhole('after a purge that did not ask');
  t.strictSame(fs.readdirSync(join(root, 'volumes')), []);
  t.strictSame(fs.readdirSync(join(root, 'purged')), [], 'the link itself went');
});

t.test('G7: a directory that becomes a link while it is purged empties nothing', async (t) => {
  for (const name of ['gen', 'diverged', 'strange', 'strange/deep', 'log']) {
    for (const step of ['purge:lstat', 'purge:readdir', 'purge:unlink', 'purge:rmdir']) {
      const at = await place(t);
      const held = await hold(at.store);
      await publish(held, 1);
      fs.mkdirSync(join(at.volume, 'strange', 'deep'), { recursive: true });
      for (const file of ['a', 'deep/secret']) fs.writeFileSync(join(at.volume, 'strange', file), '');
      let left = 1;
      at.intrude = (site) => {
        const top = join(at.root, 'purged');
        const [purged] = site === step && fs.existsSync(top) ? fs.readdirSync(top) : [];
        if (purged === undefined) return;
        const path = join(top, purged, name);
        if (left-- > 0 && fs.existsSync(path)) swap(path, at.canary);
      };
      const call = { uuid: UUID, unread: false, hostExpiryMs: 1, shareId: undefined };
      const error = await at.store.purge(call).then(() => undefined, asMirrorError);
      if (error) t.match(error, TAMPERED);
      at.expectWhole(`${name} at ${step}`);
      at.intrude = () => undefined;
      await at.store.purge(call).catch((error: unknown) => t.match(error, { code: 'NO_SUCH_DOMAIN' }));
      at.expectWhole(`${name} at ${step}, once more`);
      t.strictSame(fs.readdirSync(join(at.root, 'purged')), []);
    }
  }
});

t.test("a host's directory that is a link makes nobody write elsewhere", async (t) => {
  const { root, canary, store, expectWhole } = await place(t);
  swap(join(root, 'hosts', 'kvm-a'), canary);
  await t.rejects(store.beat({ shareId: undefined }), { ...TAMPERED, message: /hosts\/kvm-a/ });
  expectWhole();
  fs.unlinkSync(join(root, 'hosts', 'kvm-a'));
  await store.beat({ shareId: undefined });
  await store.leave({});
  swap(join(root, 'hosts'), canary);
  await t.rejects(store.beat({ shareId: undefined }), TAMPERED);
  expectWhole();
});

t.test("what stands in a heartbeat's place neither blocks the share nor is written to", async (t) => {
  const { root, canary, store } = await place(t);
  const path = join(root, 'hosts', 'kvm-a', 'heartbeat');
  await store.beat({ shareId: undefined });
  await store.leave({});
  const plants: Record<string, () => void> = {
    fifo: () => execFileSync('mkfifo', [path]),
    link: () => fs.symlinkSync(join(canary, 'heartbeat'), path),
    'hard link': () => fs.linkSync(join(canary, 'heartbeat'), path),
    directory: () => fs.mkdirSync(path),
  };
  for (const [what, plant] of Object.entries(plants)) {
    plant();
    await t.rejects(store.beat({ shareId: undefined }), { message: /heartbeat/ }, what);
    fs.rmSync(path, { recursive: true });
  }
  t.equal(fs.readFileSync(join(canary, 'heartbeat'), 'utf8'), 'canary');
  await store.beat({ shareId: undefined });
});

t.test('a share that is mounted with nosymfollow serves all the same', { skip: !isRoot }, async (t) => {
  const directory = await temporaryDirectory(t);
  await mount(t, ['-t', 'tmpfs', '-o', 'nosymfollow,nodev,nosuid', 'tmpfs'], directory);
  fs.mkdirSync(join(directory, 'target'));
  fs.symlinkSync('target', join(directory, 'link'));
  t.throws(() => fs.readdirSync(join(directory, 'link')), { code: 'ELOOP' }, 'no link works there');
  const { store } = await openStore(join(directory, 'share'));
  t.teardown(() => store.leave({}));
  const held = await hold(store);
  for (const number of [1, 2, 3]) await publish(held, number);
  await store.pin({ uuid: UUID, name: KEPT, slot: 'head' });
  await store.tidy(tidying(held));
  t.equal(await headNumber(store), 3);
  t.match(await store.verify({ uuid: UUID }), { damaged: { length: 0 } });
  t.match(await store.history({ uuid: UUID }), [{ kind: 'publish', head: true }]);
});

const OPERATIONS: Record<string, (store: ShareService, held: Hold) => Promise<unknown>> = {
  inspect: (store) => store.inspect({ ...claimCall(), withHead: true, since: 0 }),
  publish: (_, held) => publish(held, 2),
  claim: (store) => store.claim(claimCall('free', 'compact')),
  tidy: (store, held) => store.tidy(tidying(held)),
  diverge: (store, { epoch, next }) =>
    store.diverge({
      uuid: UUID,
      epoch,
      slot: next,
      capture: tpmCapture(7),
      note: { domainName: '', reason: 'diverged', bootId: '', swtpm: '', libtpms: '' },
      supersedes: undefined,
    }),
  pin: (store) => store.pin({ uuid: UUID, name: parseSnapshotName('another'), slot: 'head' }),
  unpin: (store) => store.unpin({ uuid: UUID, name: KEPT }),
  fetchPin: (store) => store.fetchPin({ uuid: UUID, name: KEPT }),
  fetch: (store) => store.fetch({ uuid: UUID, slot: 'head', fallBack: false }),
  history: (store) => store.history({ uuid: UUID }),
  verify: (store) => store.verify({ uuid: UUID }),
  placeLive: (store) => store.placeLive({ uuid: UUID, live: 9, capture: tpmCapture(1) }),
  readLive: (store, { epoch }) => store.readLive({ uuid: UUID, live: epoch }),
  lookLive: (store, { epoch }) => store.lookLive({ uuid: UUID, live: epoch }),
  removeLive: (store, { epoch }) => store.removeLive({ uuid: UUID, live: epoch }),
  release: (store, { epoch, next: slot }) =>
    store.closeEpoch({ uuid: UUID, kind: 'release', epoch, slot, reason: 'stop' }),
};

for (const [operation, run] of Object.entries(OPERATIONS)) {
  t.test(`G7: ${operation}, with each directory a link before it or in its middle`, async (t) => {
    for (const name of [
      '',
      'log',
      'gen',
      'pins',
      'diverged',
      'live',
      'live/00000001',
      'live/00000001/tpm2',
    ]) {
      for (const calls of [0, 4]) {
        const at = await place(t);
        const held = await hold(at.store);
        await publish(held, 1);
        await at.store.pin({ uuid: UUID, name: KEPT, slot: 'head' });
        await at.store.placeLive({ uuid: UUID, live: held.epoch, capture: tpmCapture(1) });
        let left = calls;
        at.intrude = () => {
          if (left-- === 0) swap(join(at.volume, name), join(at.canary, name));
        };
        const error = await run(at.store, held).then(() => undefined, asMirrorError);
        if (error) t.not(error.code, 'INTERNAL', error.message);
        at.expectWhole(`${name} after ${calls} calls`);
      }
    }
  });
}
