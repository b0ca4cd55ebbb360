/**
 * The conformance suite of the `ShareStore` port: what a host relies on, with two hosts on one share. It knows the port alone, so that
 * every implementation can stand behind it.
 */
import type { Test } from 'tap';
import type { ShareStore } from '../../src/volume/share-store.js';
import { NOTE, numberOf, OTHER_UUID, tpmCapture, UUID } from '../fixtures/tpm-captures.js';
import {
  claimCall,
  claimed,
  close,
  diverge,
  fetchHead,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
} from '../fixtures/volume-steps.js';

/** The stores of two hosts, `kvm-a` and `kvm-b`, on one directory that is new and not a share yet. */
export interface TwoHosts {
  readonly a: ShareStore;
  readonly b: ShareStore;
}

export type MakeStores = () => Promise<TwoHosts>;

export async function shareStoreConformance(t: Test, makeStores: MakeStores): Promise<void> {
  const makeShare: MakeStores = async () => {
    const stores = await makeStores();
    await stores.a.initialise({});
    return stores;
  };
  await t.test('the share', (t) => shares(t, makeStores));
  await t.test('holding a volume', (t) => holding(t, makeShare));
  await t.test('taking a volume over', (t) => takingOver(t, makeShare));
  await t.test('reading generations', (t) => readings(t, makeShare));
  await t.test('keeping order', (t) => tidying(t, makeShare));
}

async function shares(t: Test, makeStores: MakeStores): Promise<void> {
  await t.test('a directory that is no share is not used', async (t) => {
    const { a } = await makeStores();
    await t.rejects(a.identify({}), { code: 'SHARE_NOT_INITIALIZED', retriable: false });
    await t.rejects(a.beat({ shareId: undefined }), { code: 'SHARE_NOT_INITIALIZED' });
    await t.rejects(a.claim(claimCall()), { code: 'SHARE_NOT_INITIALIZED' });
  });

  await t.test('a share is made once, and both hosts know it by its id', async (t) => {
    const { a, b } = await makeStores();
    const { id, format } = await a.initialise({});
    t.match(id, /^[0-9a-f]{32}$/);
    t.equal(format, 1);
    t.equal((await b.identify({})).id, id);
    await t.rejects(b.initialise({}), { code: 'USAGE' });
  });

  await t.test('another share than the one a host knows is refused', async (t) => {
    const { a } = await makeStores();
    await a.initialise({});
    const shareId = '0'.repeat(32);
    await t.rejects(a.beat({ shareId }), { code: 'SHARE_WRONG' });
  });

  await t.test('volumes are listed once somebody claimed them', async (t) => {
    const { a, b } = await makeStores();
    await a.initialise({});
    t.strictSame(await a.list({}), []);
    t.equal(await read(a), undefined);
    await claimed(a);
    await claimed(b, 'free', OTHER_UUID);
    t.strictSame(await a.list({}), [OTHER_UUID, UUID]);
  });

  await t.test('a share that is asked for a volume it does not have says so', async (t) => {
    const { a } = await makeStores();
    await a.initialise({});
    const head = { uuid: UUID, slot: 'head', fallBack: false } as const;
    await t.rejects(a.fetch(head), { code: 'NO_SUCH_DOMAIN' });
    await t.rejects(a.history({ uuid: UUID }), { code: 'NO_SUCH_DOMAIN' });
    await t.rejects(a.verify({ uuid: UUID }), { code: 'NO_SUCH_DOMAIN' });
    await claimed(a);
    await t.rejects(a.fetch(head), { code: 'NO_SUCH_GENERATION' });
  });
}

async function holding(t: Test, makeShare: MakeStores): Promise<void> {
  await t.test('G4: what was published is what the other host reads', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    t.equal(held.epoch, 1);
    t.equal(await publish(held, 1), 2);
    t.equal(await publish(held, 2), 3);
    const { name, manifest, capture } = await fetchHead(b);
    t.equal(numberOf(capture), 2);
    t.match(name, { slot: 3, epoch: 1, host: 'kvm-a' });
    t.match(manifest, {
      uuid: UUID,
      slot: 3,
      epoch: 1,
      parent: 2,
      host: 'kvm-a',
      name: 'guest',
      reason: 'change',
    });
    t.match(await read(b), {
      log: { epoch: 1, top: 3 },
      holder: { host: 'kvm-a', self: false, alive: true },
    });
    t.match(await read(a), { holder: { host: 'kvm-a', self: true, alive: true } });
  });

  await t.test('G3: a volume held by a living host is refused, except by force', async (t) => {
    const { a, b } = await makeShare();
    await claimed(a);
    for (const scope of ['own', 'free', 'expired'] as const) {
      t.match(await b.claim(claimCall(scope)), { kind: 'held', holder: { host: 'kvm-a', alive: true } });
    }
    t.match(await b.claim(claimCall('forced', 'forced')), {
      kind: 'claimed',
      epoch: 2,
      from: { host: 'kvm-a', epoch: 1 },
    });
  });

  await t.test('G4: what was decided on a log is not claimed once that log has grown', async (t) => {
    const { a, b } = await makeShare();
    await close(await hold(a));
    const seen = (await read(a))?.log.top;
    await close(await hold(b));
    t.match(await a.claim({ ...claimCall(), onTopOf: seen }), { kind: 'moved' });
    const onTopOf = (await read(a))?.log.top;
    t.equal(onTopOf, 4, 'nothing was written');
    t.match(await a.claim({ ...claimCall(), onTopOf }), { kind: 'claimed', epoch: 5 });
  });

  await t.test('a host claims again what it holds, in a new epoch', async (t) => {
    const { a } = await makeShare();
    await publish(await hold(a), 1);
    for (const [scope, epoch] of [
      ['own', 3],
      ['free', 4],
    ] as const) {
      t.match(await a.claim(claimCall(scope)), { kind: 'claimed', epoch, log: { head: { slot: 2 } } });
    }
  });

  await t.test(
    'a released volume is free for everybody, and no longer its former holder’s own',
    async (t) => {
      const { a, b } = await makeShare();
      const held = await hold(a);
      await publish(held, 1);
      t.strictSame(await close(held), { kind: 'committed', slot: 3 });
      t.equal((await a.claim(claimCall('own'))).kind, 'free');
      t.match(await b.claim(claimCall('free')), { kind: 'claimed', epoch: 4, from: undefined });
    },
  );

  await t.test('a tombstoned volume is claimed only by who means to revive it', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    await publish(held, 1);
    await close(held, 'tombstone');
    t.match(await b.claim(claimCall('forced')), {
      kind: 'tombstoned',
      log: { tombstone: { host: 'kvm-a' } },
    });
    t.equal((await b.claim({ ...claimCall(), revive: true })).kind, 'claimed');
    t.equal(await headNumber(b), 1);
  });

  await t.test('a host that said goodbye counts as expired at once', async (t) => {
    const { a, b } = await makeShare();
    await claimed(a);
    await a.leave({});
    t.match(await read(b), { holder: { alive: false, heartbeatAgeMs: undefined } });
    t.equal((await b.claim(claimCall('expired', 'take-over'))).kind, 'claimed');
  });
}

async function takingOver(t: Test, makeShare: MakeStores): Promise<void> {
  await t.test('G3: a fenced host changes nothing, learns by whom, and its state is kept', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    const holder = await hold(b, 'forced');
    t.strictSame(await tryPublish(former, 7), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    await publish(holder, 2);
    t.strictSame(await tryPublish(former, 8), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    t.strictSame(await close(former), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    t.equal(await headNumber(a), 2);
    const kept = (await b.history({ uuid: UUID })).filter(({ kind }) => kind === 'diverged');
    const digests = [7, 8].map((number) => tpmCapture(number).digest);
    t.strictSame(kept.map(({ sha256 }) => sha256).sort(), digests.sort(), 'G5: both copies are kept');
  });

  await t.test('G4: who takes over continues from the last acknowledged generation', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    for (const number of [1, 2, 3]) await publish(former, number);
    const { log } = await claimed(b, 'forced');
    t.equal(log.head?.slot, 4);
    t.equal(numberOf((await fetchHead(b)).capture), 3);
  });

  await t.test('two hosts that claim at once: one holds, the other is told who', async (t) => {
    const { a, b } = await makeShare();
    const outcomes = await Promise.all([a.claim(claimCall()), b.claim(claimCall())]);
    t.strictSame(outcomes.map(({ kind }) => kind).sort(), ['claimed', 'held']);
    const volume = await read(a);
    t.equal(volume?.holder?.host, outcomes[0].kind === 'claimed' ? 'kvm-a' : 'kvm-b');
  });
}

async function readings(t: Test, makeShare: MakeStores): Promise<void> {
  await t.test('every published generation can be fetched by its slot', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    for (const number of [1, 2, 3]) await publish(held, number);
    for (const [slot, number] of [
      [2, 1],
      [3, 2],
      [4, 3],
    ] as const) {
      const { generation, passedOver } = await b.fetch({ uuid: UUID, slot, fallBack: false });
      t.equal(numberOf(generation.capture), number);
      t.strictSame(passedOver, []);
    }
    await t.rejects(b.fetch({ uuid: UUID, slot: 1, fallBack: true }), { code: 'NO_SUCH_GENERATION' });
    await t.rejects(b.fetch({ uuid: UUID, slot: 9, fallBack: true }), { code: 'NO_SUCH_GENERATION' });
  });

  await t.test('the history tells everything, newest first', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    await publish(held, 1);
    await close(held);
    await publish(await hold(b), 2);
    const lines = await a.history({ uuid: UUID });
    t.strictSame(
      lines.map(({ slot, kind, host, epoch, head }) => [slot, kind, host, epoch, head]),
      [
        [5, 'publish', 'kvm-b', 4, true],
        [4, 'claim', 'kvm-b', 4, false],
        [3, 'release', 'kvm-a', 1, false],
        [2, 'publish', 'kvm-a', 1, false],
        [1, 'claim', 'kvm-a', 1, false],
      ],
    );
    t.match(lines[0], { sha256: tpmCapture(2).digest, reason: NOTE.reason, pins: { length: 0 } });
    t.ok(lines.every(({ time }) => !Number.isNaN(Date.parse(time))));
    t.match(await a.verify({ uuid: UUID }), { uuid: UUID, checked: 2, damaged: { length: 0 } });
  });

  await t.test('G5: a fenced host keeps its newest state, the same once', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    await claimed(b, 'forced');
    await diverge(former, 5);
    for (const number of [6, 6]) await diverge(former, number, 5);
    const kept = (await b.history({ uuid: UUID })).filter(({ kind }) => kind === 'diverged');
    t.match(kept, [{ host: 'kvm-a', epoch: 1, sha256: tpmCapture(6).digest }]);
    t.equal(await headNumber(b), 1);
    t.match(await b.verify({ uuid: UUID }), { checked: 2, damaged: { length: 0 } });
  });
}

async function tidying(t: Test, makeShare: MakeStores): Promise<void> {
  await t.test('only the holder tidies', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    const holder = await hold(b, 'forced');
    await t.rejects(a.tidy({ uuid: UUID, epoch: former.epoch, keep: 1 }), { code: 'FENCED' });
    await t.rejects(b.tidy({ uuid: UUID, epoch: former.epoch, keep: 1 }), { code: 'FENCED' });
    t.strictSame(await b.tidy({ uuid: UUID, epoch: holder.epoch, keep: 1 }), {
      removed: 0,
      diverged: 0,
      needsCompaction: false,
      strangers: [],
    });
  });

  await t.test('a long epoch asks for a new one, and pruning then takes it whole', async (t) => {
    const { a, b } = await makeShare();
    const long = await hold(a);
    for (const number of [1, 2, 3, 4]) await publish(long, number);
    const keep = 2;
    t.match(await a.tidy({ uuid: UUID, epoch: long.epoch, keep }), { removed: 0, needsCompaction: true });
    const fresh = await hold(a, 'own');
    await publish(fresh, 5);
    t.match(await a.tidy({ uuid: UUID, epoch: fresh.epoch, keep }), { removed: 0 });
    await publish(fresh, 6);
    t.match(await a.tidy({ uuid: UUID, epoch: fresh.epoch, keep }), { removed: 9, needsCompaction: false });
    t.strictSame(
      (await b.history({ uuid: UUID })).map(({ slot }) => slot),
      [8, 7, 6],
    );
    t.equal(await headNumber(b), 6);
    t.match(await b.verify({ uuid: UUID }), { checked: 2, damaged: { length: 0 } });
  });
}
