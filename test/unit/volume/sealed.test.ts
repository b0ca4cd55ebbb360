/**
 * Volumes whose generations are encrypted, all of them or some, seen by hosts with the key and without.
 */
import t from 'tap';
import { isSealed } from '../../../src/bundle/sealing.js';
import { asMirrorError } from '../../../src/model/errors.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { withShownIdentity } from '../../../src/volume/fetch.js';
import { readWhole } from '../../../src/volume/files.js';
import { fakeSealing } from '../../fixtures/sealings.js';
import { numberOf, tpmCapture, UUID, NOTE } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimCall,
  close,
  diverge,
  EXPIRY_MS,
  fetchHead,
  hold,
  publish,
} from '../../fixtures/volume-steps.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;
const OLD = fakeSealing(['age1old']);
/** In the middle of a change-over. */
const NEW = fakeSealing(['age1new'], ['age1new', 'age1old'], true);
/** After it. */
const STRICT = fakeSealing(['age1new'], ['age1new', 'age1old']);
const PIN = parseSnapshotName('kept');

async function storedIn({ files }: VolumeHosts, directory: string): Promise<Uint8Array[]> {
  const names = (await files.readdir('test:readdir', `${VOLUME}/${directory}`)).sort();
  return await Promise.all(
    names.map((name) => readWhole(files, 'test', `${VOLUME}/${directory}/${name}`, 1 << 20)),
  );
}

/** Capture 1 in the clear, pinned; 2 for the old key; a diverged copy of 3 for the old key. All is released. */
async function mixedVolume(): Promise<VolumeHosts> {
  const hosts = new VolumeHosts();
  const plain = hosts.start('kvm-a');
  await plain.store.initialise({});
  const first = await hold(plain.store);
  await publish(first, 1);
  await plain.store.pin({ uuid: UUID, name: PIN, slot: 'head' });
  await close(first);
  const second = await hold(hosts.start('kvm-b', { sealing: OLD }).store);
  await publish(second, 2);
  await diverge(second, 3);
  await close(second);
  return hosts;
}

async function reseal(hosts: VolumeHosts, host = hosts.start('kvm-c', { sealing: NEW })): Promise<unknown> {
  return await host.store.reseal({ uuid: UUID, after: '', dryRun: false });
}

t.test('one volume holds generations in the clear and encrypted ones', async (t) => {
  const hosts = await mixedVolume();
  const { store } = hosts.start('kvm-c', { sealing: NEW });
  t.equal(numberOf((await fetchHead(store)).capture), 2);
  const { generation } = await store.fetch({ uuid: UUID, slot: 2, fallBack: false });
  t.equal(numberOf(generation.capture), 1);
  const copy = await store.fetch({ uuid: UUID, slot: 'diverged', fallBack: false });
  t.equal(numberOf(copy.generation.capture), 3);
  t.match(await store.verify({ uuid: UUID }), {
    checked: 4,
    unopened: 0,
    damaged: { length: 0 },
    problems: { length: 0 },
  });
  t.match(
    (await store.history({ uuid: UUID })).filter(({ kind }) => kind === 'publish'),
    [
      { slot: 5, reason: 'change', head: true },
      { slot: 2, reason: 'change', pins: ['kept'] },
    ],
  );
});

t.test('without the key nothing is handed out, and nothing is called damaged', async (t) => {
  const hosts = await mixedVolume();
  const { store } = hosts.start('kvm-c');
  const asked = { uuid: UUID, withHead: true, since: 0, shareId: undefined, hostExpiryMs: EXPIRY_MS };
  await t.rejects(store.inspect(asked), { code: 'KEY_MISSING', exitStatus: 3 });
  await t.rejects(store.fetch({ uuid: UUID, slot: 'head', fallBack: true }), { code: 'KEY_MISSING' });
  const { generation } = await store.fetch({ uuid: UUID, slot: 2, fallBack: false });
  t.equal(numberOf(generation.capture), 1, 'what is in the clear is there for everybody');
  t.match(await store.verify({ uuid: UUID }), {
    checked: 4,
    unopened: 2,
    damaged: { length: 0 },
    problems: { length: 0 },
  });
  t.match((await store.history({ uuid: UUID }))[0], { slot: 6, kind: 'release' });
  t.match(
    (await store.history({ uuid: UUID })).find(({ head }) => head),
    { slot: 5, damage: { code: 'KEY_MISSING' } },
  );
  t.match(await store.summarise({ uuid: UUID }), {
    generations: 2,
    diverged: 1,
    head: { slot: 5, host: 'kvm-b', time: '' },
    problem: { code: 'KEY_MISSING' },
  });
});

t.test(
  'a changed head is damage, and the generation before it takes its place where that is asked for',
  async (t) => {
    const hosts = await mixedVolume();
    const names = (await hosts.files.readdir('test:readdir', `${VOLUME}/gen`)).sort();
    const path = `${VOLUME}/gen/${names.at(-1) ?? ''}`;
    const stored = await readWhole(hosts.files, 'test', path, 1 << 20);
    await hosts.plant(path, stored.subarray(0, -1));
    const { store } = hosts.start('kvm-c', { sealing: NEW });
    await t.rejects(store.fetch({ uuid: UUID, slot: 'head', fallBack: false }), {
      code: 'GENERATION_DAMAGED',
    });
    const { generation, passedOver } = await store.fetch({ uuid: UUID, slot: 'head', fallBack: true });
    t.equal(numberOf(generation.capture), 1);
    t.match(passedOver, [{ name: { slot: 5 } }]);
    const keyless = await hosts.start('kvm-d').store.verify({ uuid: UUID });
    t.match(keyless, {
      unopened: 1,
      damaged: [{ name: { slot: 5 }, error: { code: 'GENERATION_DAMAGED' } }],
    });
  },
);

t.test(
  'what is written anew is the same to every reader, and nothing opens it with the old key',
  async (t) => {
    const hosts = await mixedVolume();
    const log = await hosts.files.readdir('test:readdir', `${VOLUME}/log`);
    t.match(await reseal(hosts), {
      rewritten: 4,
      already: 0,
      unopened: 0,
      damaged: { length: 0 },
      next: undefined,
    });
    for (const directory of ['gen', 'diverged', 'pins']) {
      for (const data of await storedIn(hosts, directory)) t.ok(isSealed(data), directory);
    }
    t.strictSame(await hosts.files.readdir('test:readdir', `${VOLUME}/log`), log, 'the log is as it was');
    const { store } = hosts.start('kvm-d', { sealing: fakeSealing(['age1new']) });
    t.equal(numberOf((await fetchHead(store)).capture), 2);
    t.equal(numberOf((await store.fetchPin({ uuid: UUID, name: PIN })).capture), 1);
    t.match(await store.verify({ uuid: UUID }), {
      checked: 4,
      unopened: 0,
      damaged: { length: 0 },
      problems: { length: 0 },
    });
    const old = hosts.start('kvm-e', { sealing: OLD }).store;
    t.match(await old.verify({ uuid: UUID }), { checked: 4, unopened: 4, damaged: { length: 0 } });
    t.match(await reseal(hosts), { rewritten: 0, already: 4 }, 'a second run has nothing to do');
  },
);

t.test('encryption ends as it began', async (t) => {
  const hosts = await mixedVolume();
  const host = hosts.start('kvm-c', { sealing: fakeSealing([], ['age1old']) });
  t.match(await reseal(hosts, host), { rewritten: 2, already: 2 });
  t.match(await hosts.start('kvm-d').store.verify({ uuid: UUID }), {
    checked: 4,
    unopened: 0,
    damaged: { length: 0 },
  });
});

t.test('what cannot be opened or is damaged stays as it is, and is told', async (t) => {
  const hosts = await mixedVolume();
  const names = (await hosts.files.readdir('test:readdir', `${VOLUME}/gen`)).sort();
  await hosts.plant(`${VOLUME}/gen/${names[0] ?? ''}`, 'torn');
  const before = await storedIn(hosts, 'gen');
  const host = hosts.start('kvm-c', { sealing: fakeSealing(['age1new'], ['age1new'], true) });
  t.match(await reseal(hosts, host), {
    rewritten: 0,
    unopened: 2,
    damaged: [
      { path: `gen/${names[0] ?? ''}`, error: { code: 'GENERATION_DAMAGED' } },
      { path: 'pins/kept.tar.gz', error: { code: 'GENERATION_DAMAGED' } },
    ],
  });
  t.strictSame(await storedIn(hosts, 'gen'), before);
});

t.test('a long volume is done some files at a time, and a dry run changes nothing', async (t) => {
  const hosts = new VolumeHosts();
  const plain = hosts.start('kvm-a');
  await plain.store.initialise({});
  const held = await hold(plain.store);
  for (let number = 1; number <= 40; number++) await publish(held, number);
  const { store } = hosts.start('kvm-c', { sealing: NEW });
  const dry = await store.reseal({ uuid: UUID, after: '', dryRun: true });
  t.match(dry, { rewritten: 32 });
  t.notOk((await storedIn(hosts, 'gen')).some(isSealed));
  const first = await store.reseal({ uuid: UUID, after: '', dryRun: false });
  t.match(first, { rewritten: 32 });
  t.ok(first.next);
  await publish(held, 41);
  t.match(await store.reseal({ uuid: UUID, after: first.next ?? '', dryRun: false }), {
    rewritten: 9,
    next: undefined,
  });
  await publish(held, 42);
  t.match(await plain.store.tidy({ uuid: UUID, epoch: held.epoch, keep: 2 }), { needsCompaction: true });
});

t.test(
  'an interrupted run leaves no torn generation, and the next one of its host no leftover',
  async (t) => {
    const hosts = await mixedVolume();
    const leftover = `${VOLUME}/gen/.tmp-reseal-kvm-c-0011223344556677`;
    await hosts.plant(leftover, 'half');
    await hosts.plant(`${VOLUME}/gen/.tmp-reseal-kvm-d-0011223344556677`, 'at work');
    await reseal(hosts);
    t.strictSame(
      (await hosts.files.readdir('test:readdir', `${VOLUME}/gen`)).filter((name) => name.startsWith('.')),
      ['.tmp-reseal-kvm-d-0011223344556677'],
    );
  },
);

t.test('a share with an escrow recipient takes nothing that is not encrypted for it', async (t) => {
  const hosts = new VolumeHosts();
  const plain = hosts.start('kvm-a');
  const { id } = await plain.store.initialise({ escrow: 'age1escrow' });
  t.match(await plain.store.identify({}), { id, format: 2, escrow: 'age1escrow' });
  const refused = { code: 'CONFIG_INVALID', message: /age1escrow/, exitStatus: 2 };
  await t.rejects(plain.store.claim(claimCall()), refused);
  const other = hosts.start('kvm-b', { sealing: OLD });
  await t.rejects(other.store.claim(claimCall()), refused);
  const copy = { uuid: UUID, epoch: 0, slot: 1, capture: tpmCapture(1, UUID), note: NOTE };
  await t.rejects(plain.store.diverge(copy), refused);
  const both = fakeSealing(['age1own', 'age1escrow'], ['age1own']);
  const { store } = hosts.start('kvm-c', { sealing: both });
  await publish(await hold(store), 1);
  const owner = hosts.start('vault', { sealing: fakeSealing([], ['age1escrow']) });
  t.equal(numberOf((await fetchHead(owner.store)).capture), 1, 'its owner opens everything');
});

t.test('another escrow recipient holds from then on, also for a host that has looked before', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a', { sealing: fakeSealing(['age1own', 'age1escrow']) });
  const { id } = await store.initialise({ escrow: 'age1escrow' });
  const held = await hold(store);
  await publish(held, 1);
  t.match(await hosts.start('kvm-b').store.setEscrow({ escrow: 'age1next' }), { id, escrow: 'age1next' });
  const error = asMirrorError(await publish(held, 2).catch((cause: unknown) => cause));
  t.match(error, { code: 'CONFIG_INVALID', message: /age1next/ });
  t.match(await hosts.start('kvm-b').store.setEscrow({ escrow: undefined }), { id, format: 1 });
  await publish(held, 2);
});

t.test('what lies in the clear, wherever it lies, is used by no host that encrypts', async (t) => {
  const hosts = new VolumeHosts();
  const plain = hosts.start('kvm-a');
  await plain.store.initialise({});
  const held = await hold(plain.store);
  await publish(held, 1);
  await plain.store.pin({ uuid: UUID, name: PIN, slot: 'head' });
  await publish(held, 2);
  await diverge(held, 3);
  await close(held);

  const asked = { uuid: UUID, withHead: true, since: 0, shareId: undefined, hostExpiryMs: EXPIRY_MS };
  const { store } = hosts.start('kvm-c', { sealing: STRICT });
  const readings: Readonly<Record<string, () => Promise<unknown>>> = {
    'the head of a start': () => store.inspect(asked),
    'the head': () => store.fetch({ uuid: UUID, slot: 'head', fallBack: false }),
    'the newest that is whole': () => store.fetch({ uuid: UUID, slot: 'head', fallBack: true }),
    'an older generation': () => store.fetch({ uuid: UUID, slot: 2, fallBack: false }),
    'a diverged copy': () => store.fetch({ uuid: UUID, slot: 'diverged', fallBack: false }),
    'a snapshot': () => store.fetchPin({ uuid: UUID, name: PIN }),
  };
  for (const [what, reading] of Object.entries(readings)) {
    await t.rejects(reading(), { code: 'PLAIN_REFUSED', exitStatus: 3, next: /accept_plain/ }, what);
  }
  const verified = await store.verify({ uuid: UUID });
  t.match(
    verified.damaged.map(({ error }) => error.code),
    ['PLAIN_REFUSED', 'PLAIN_REFUSED', 'PLAIN_REFUSED'],
  );
  t.match(verified.problems, [{ code: 'PLAIN_REFUSED' }]);
  t.match(await store.summarise({ uuid: UUID }), { problem: { code: 'PLAIN_REFUSED' } });
  t.match(
    (await store.history({ uuid: UUID })).find(({ head }) => head),
    { damage: { code: 'PLAIN_REFUSED' } },
  );
  const before = await storedIn(hosts, 'gen');
  t.match(await reseal(hosts, hosts.start('kvm-c', { sealing: STRICT })), {
    rewritten: 0,
    damaged: [1, 2, 3, 4].map(() => ({ error: { code: 'PLAIN_REFUSED' } })),
  });
  t.strictSame(await storedIn(hosts, 'gen'), before, 'it is not laundered');

  const during = hosts.start('kvm-c', { sealing: NEW });
  t.equal(numberOf((await fetchHead(during.store)).capture), 2, 'a change-over reads it');
  t.match(await reseal(hosts, during), { rewritten: 4, damaged: { length: 0 } });
  t.equal(numberOf((await fetchHead(hosts.start('kvm-c', { sealing: STRICT }).store)).capture), 2);
});

t.test('a host without recipients reads what is in the clear, whatever keys it has', async (t) => {
  const hosts = new VolumeHosts();
  const plain = hosts.start('kvm-a');
  await plain.store.initialise({});
  await publish(await hold(plain.store), 1);
  for (const own of [[], ['age1old']]) {
    const { store } = hosts.start('kvm-c', { sealing: fakeSealing([], own) });
    t.equal(numberOf((await fetchHead(store)).capture), 1);
  }
});

t.test('which TPM a generation is, its state says, not what is written beside it', async (t) => {
  const shown = tpmCapture(1).identity ?? withShownIdentity(tpmCapture(1)).identity;
  for (const said of [undefined, 'a'.repeat(64), 'b'.repeat(64)]) {
    const hosts = new VolumeHosts();
    const { store } = hosts.start('kvm-a');
    await store.initialise({});
    const held = await hold(store);
    const capture = { ...tpmCapture(1), identity: said };
    await store.publish({
      uuid: UUID,
      epoch: held.epoch,
      slot: held.epoch + 1,
      parent: 0,
      capture,
      note: NOTE,
    });
    const { identity } = (await fetchHead(store)).capture;
    t.equal(identity, withShownIdentity(tpmCapture(1)).identity ?? said);
    t.not(shown, undefined, 'this one shows it');
  }
});
