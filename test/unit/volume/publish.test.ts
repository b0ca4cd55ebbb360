import t from 'tap';
import { faultingFileSystem } from '../../fakes/faulting-filesystem.js';
import { holdBack } from '../../fixtures/held-back.js';
import { numberOf, tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts, type HostOptions } from '../../fixtures/volume-hosts.js';
import {
  claimed,
  fetchHead,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
  type Hold,
} from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;

/** A volume held by kvm-a with head 1 in slot 2; the holder goes on with these options. */
async function heldVolume(options: HostOptions = {}): Promise<{ hosts: VolumeHosts; held: Hold }> {
  const hosts = new VolumeHosts();
  const first = hosts.start('kvm-a').store;
  await first.initialise({});
  const held = await hold(first);
  await publish(held, 1);
  return { hosts, held: { ...held, store: hosts.start('kvm-a', options).store } };
}

async function divergedDigests(hosts: VolumeHosts): Promise<(string | undefined)[]> {
  const lines = await hosts.start('kvm-d').store.history({ uuid: UUID });
  return lines.filter(({ kind }) => kind === 'diverged').map(({ sha256 }) => sha256);
}

t.test('a small state takes the calls that the protocol counts, in their order', async (t) => {
  const { hosts, held } = await heldVolume();
  await publish(held, 2);
  const before = hosts.trace.count;
  await publish(held, 3);
  const events = hosts.trace.events.slice(before - hosts.trace.count);
  t.strictSame(
    events.map(({ site }) => site.replace('publish:', '')),
    [
      'marker:lstat',
      'open',
      'write',
      'fsync',
      'close',
      'rename',
      'sync-gen',
      'check-claim',
      'symlink',
      'sync-log',
      'readlink-claim',
    ],
  );
});

t.test('G1: a disk that takes a few bytes at a time gets all of them', async (t) => {
  const { hosts, held } = await heldVolume({ wrap: (fs) => faultingFileSystem(fs, [], 100).fs });
  await publish(held, 2);
  t.equal(numberOf((await fetchHead(hosts.start('kvm-b').store)).capture), 2);
});

t.test('G1: a disk that takes no byte more is full, and not silent', async (t) => {
  const { hosts, held } = await heldVolume({ wrap: (fs) => faultingFileSystem(fs, [], 0).fs });
  await t.rejects(tryPublish(held, 2), { code: 'SHARE_FULL' });
  t.equal(await headNumber(hosts.start('kvm-b').store), 1);
});

t.test('G1: a full disk, seen early or late, leaves the head and no files', async (t) => {
  for (const site of [
    'publish:open',
    'publish:write',
    'publish:fsync',
    'publish:close',
    'publish:rename',
  ] as const) {
    for (const code of ['ENOSPC', 'EDQUOT']) {
      const { hosts, held } = await heldVolume({
        inject: injectAt(site, { kind: 'fail', code, executed: false }),
      });
      await t.rejects(tryPublish(held, 2), { code: 'SHARE_FULL', retriable: true }, `${code} at ${site}`);
      t.equal(
        (await hosts.files.readdir('test:readdir', `${VOLUME}/gen`)).length,
        1,
        'what was written is removed',
      );
      t.equal(await publish(held, 2), 3, 'the same call again succeeds, in the same slot');
    }
  }
});

t.test('G1: a disk that fills up half-way', async (t) => {
  const { hosts, held } = await heldVolume();
  const { tree } = hosts.disk;
  tree.capacityBytes = tree.space().totalBytes - tree.space().availableBytes + 300;
  await t.rejects(tryPublish(held, 2), { code: 'SHARE_FULL' });
  tree.capacityBytes = 1 << 30;
  t.equal(await publish(held, 2), 3);
  t.equal(await headNumber(hosts.start('kvm-b').store), 2);
});

t.test('a failed fsync is never tried again on the same file', async (t) => {
  const { hosts, held } = await heldVolume({
    inject: injectAt('publish:fsync', { kind: 'fail', code: 'EIO', executed: false }),
  });
  await t.rejects(tryPublish(held, 2), { code: 'SHARE_UNAVAILABLE', retriable: true });
  await publish(held, 2);
  const synced = hosts.trace.events
    .filter(({ site }) => site === 'publish:fsync')
    .map(({ action }) => action);
  t.equal(new Set(synced).size, synced.length);
});

t.test('a rename whose reply was lost leaves a file that never counts, and is swept', async (t) => {
  const { hosts, held } = await heldVolume({
    inject: injectAt('publish:rename', { kind: 'fail', code: 'ENOENT', executed: true }),
  });
  await t.rejects(tryPublish(held, 2), { code: 'SHARE_UNAVAILABLE', retriable: true });
  t.equal(await headNumber(hosts.start('kvm-b').store), 1);
  await publish(held, 3);
  t.match(await held.store.tidy({ uuid: UUID, epoch: held.epoch, keep: 9 }), { removed: 1, diverged: 0 });
  t.match(await held.store.verify({ uuid: UUID }), { checked: 2, damaged: { length: 0 } });
});

t.test(
  'G5: a host that is fenced while it publishes keeps the state, even if the copy cannot be moved',
  async (t) => {
    for (const inject of [
      () => undefined,
      injectAt('diverge:rename', { kind: 'fail', code: 'EIO', executed: false }),
      injectAt('diverge:rename', { kind: 'fail', code: 'ENOENT', executed: true }),
    ]) {
      const { hosts, held } = await heldVolume({ inject });
      const holder = await hold(hosts.start('kvm-b').store, 'forced');
      t.strictSame(await tryPublish(held, 2), { kind: 'fenced', slot: 3, by: 'kvm-b' });
      await publish(holder, 3);
      await holder.store.tidy({ uuid: UUID, epoch: holder.epoch, keep: 1 });
      t.strictSame(await divergedDigests(hosts), [tpmCapture(2).digest]);
      t.equal(await headNumber(holder.store), 3);
    }
  },
);

t.test('G5: a copy that was swept while its writer still published it is not an error', async (t) => {
  const { hosts, held } = await heldVolume();
  const holder = await hold(hosts.start('kvm-b').store, 'forced');
  const { wrap, reached, letGo } = holdBack('publish:symlink');
  const late = tryPublish({ ...held, store: hosts.start('kvm-a', { wrap }).store }, 2);
  await reached;
  t.match(await holder.store.tidy({ uuid: UUID, epoch: holder.epoch, keep: 1 }), { diverged: 1 });
  letGo();
  t.strictSame(await late, { kind: 'fenced', slot: 3, by: 'kvm-b' });
  t.strictSame(await divergedDigests(hosts), [tpmCapture(2).digest]);
});

t.test('a slot that holds an earlier attempt of this very host is not taken for a foreign one', async (t) => {
  const { held } = await heldVolume();
  await publish({ ...held }, 2);
  t.strictSame(await tryPublish(held, 3), { kind: 'fenced', slot: 3, by: undefined });
  t.strictSame(await held.store.claim({ ...OWN, uuid: UUID }).then(({ kind }) => kind), 'claimed');
});

t.test('G3 G5: a holder that slept until its epoch was pruned learns that it was fenced', async (t) => {
  for (const asleepAt of ['before', 'publish:symlink']) {
    const { hosts, held } = await heldVolume();
    const { wrap, reached, letGo } = holdBack(asleepAt);
    const sleeper = { ...held, store: hosts.start('kvm-a', { wrap }).store };
    const early = asleepAt === 'before' ? undefined : tryPublish(sleeper, 9);
    if (early) await reached;
    const holder = await hold(hosts.start('kvm-b').store, 'forced');
    for (const number of [2, 3]) await publish(holder, number);
    await holder.store.tidy({ uuid: UUID, epoch: holder.epoch, keep: 1 });
    t.strictSame((await hosts.files.readdir('test:readdir', `${VOLUME}/log`)).sort()[0], '00000003');
    const fresh = await hold(holder.store, 'own');
    await publish(fresh, 4);
    await holder.store.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
    letGo();
    t.strictSame(await (early ?? tryPublish(sleeper, 9)), { kind: 'fenced', slot: 3, by: undefined });
    t.equal(await headNumber(hosts.start('kvm-c').store), 4);
    t.strictSame(await divergedDigests(hosts), [tpmCapture(9).digest], 'its state is kept');
    t.equal((await sleeper.store.claim({ ...OWN, uuid: UUID })).kind, 'held');
    await holder.store.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
    t.strictSame(
      await hosts.files.readdir('test:readdir', `${VOLUME}/log`),
      ['00000006', '00000007'],
      'no trace stays',
    );
  }
});

t.test('G3: nor does a pruning that stopped half-way make a free slot for it', async (t) => {
  for (let removed = 0; removed <= 4; removed++) {
    const { hosts, held } = await heldVolume();
    const holder = await hold(hosts.start('kvm-b').store, 'forced');
    for (const number of [2, 3]) await publish(holder, number);
    const fresh = await hold(holder.store, 'own');
    await publish(fresh, 4);
    const inject = injectAt('prune:unlink-slot', { kind: 'kill', executed: false }, removed);
    const { store, process } = hosts.start('kvm-b', { inject });
    const killed = new Promise<void>((resolve) => process.onEnd(resolve));
    void store.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
    await killed;
    t.match(await tryPublish(held, 9), { kind: 'fenced', slot: 3 }, `${String(removed)} slots were pruned`);
  }
});

t.test('G2: what was acknowledged survives the loss of power at once', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const hosts = new VolumeHosts(seed);
    const { store } = hosts.start('kvm-a');
    await store.initialise({});
    const held = await hold(store);
    await publish(held, 1);
    await publish(held, 2);
    hosts.powerLoss(seed % 2 ? 'ordered' : 'independent');
    const { log } = await claimed(hosts.start('kvm-b').store, 'forced');
    t.match(log, { epoch: 4, head: { slot: 3 } });
    t.equal((await read(hosts.start('kvm-b').store))?.head.kind, 'whole');
  }
});

const OWN = {
  reason: 'recover',
  scope: 'own',
  hostExpiryMs: 30_000,
  revive: false,
  shareId: undefined,
} as const;
