/**
 * The conformance suite of the `ShareAdministration` port: snapshots and purges beside two hosts that publish. It knows the ports alone, as
 * `share-store.ts` does.
 */
import type { Test } from 'tap';
import { parseSnapshotName } from '../../src/model/identifiers.js';
import type { PurgeCall, ShareService } from '../../src/volume/share-administration.js';
import { numberOf, OTHER_UUID, UUID } from '../fixtures/tpm-captures.js';
import {
  claimed,
  close,
  diverge,
  EXPIRY_MS,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
  type Hold,
} from '../fixtures/volume-steps.js';

/** The stores of two hosts, `kvm-a` and `kvm-b`, on one directory that is new and not a share yet. */
export interface TwoServices {
  readonly a: ShareService;
  readonly b: ShareService;
}

export type MakeServices = () => Promise<TwoServices>;

const PIN = { uuid: UUID, name: parseSnapshotName('before-update') };
const PURGE: PurgeCall = { uuid: UUID, hostExpiryMs: EXPIRY_MS, shareId: undefined, unread: false };
const SURVEY = { hostExpiryMs: EXPIRY_MS, shareId: undefined };

export async function shareAdministrationConformance(t: Test, makeServices: MakeServices): Promise<void> {
  const makeShare: MakeServices = async () => {
    const services = await makeServices();
    await services.a.initialise({});
    return services;
  };
  await t.test('snapshots', (t) => snapshots(t, makeShare));
  await t.test('purging', (t) => purging(t, makeShare));
  await t.test('purging beside a host that publishes', (t) => purgingBesideAHolder(t, makeShare));
}

/** A claims again, publishes, and prunes all but its newest generation. */
async function prune(a: ShareService, number: number): Promise<Hold> {
  const fresh = await hold(a, 'own');
  await publish(fresh, number);
  await a.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
  return fresh;
}

async function snapshots(t: Test, makeShare: MakeServices): Promise<void> {
  await t.test('G4: a snapshot outlives the pruning of its generation, on every host', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    for (const number of [1, 2]) await publish(held, number);
    t.match(await b.pin({ ...PIN, slot: 2 }), { name: PIN.name, manifest: { slot: 2 }, inLog: true });
    await prune(a, 3);
    await t.rejects(b.fetch({ uuid: UUID, slot: 2, fallBack: false }), { code: 'NO_SUCH_GENERATION' });
    t.equal(numberOf((await a.fetchPin(PIN)).capture), 1);
    t.match(await b.pins({ uuid: UUID }), [{ name: PIN.name, manifest: { slot: 2 }, inLog: false }]);
    t.match(await b.verify({ uuid: UUID }), { checked: 2, damaged: { length: 0 } });
  });

  await t.test('what lies in a snapshot becomes the head again', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    await publish(held, 1);
    await a.pin({ ...PIN, slot: 'head' });
    await publish(held, 2);
    await close(held);
    const next = await hold(b);
    await publish(next, numberOf((await b.fetchPin(PIN)).capture));
    t.equal(await headNumber(a), 1);
  });

  await t.test('a name is given once, on whichever host; the same again is fine', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    for (const number of [1, 2]) await publish(held, number);
    const both = await Promise.all([a.pin({ ...PIN, slot: 3 }), b.pin({ ...PIN, slot: 3 })]);
    t.match(both, [{ manifest: { slot: 3 } }, { manifest: { slot: 3 } }]);
    await t.rejects(b.pin({ ...PIN, slot: 2 }), { code: 'USAGE' });
    await b.unpin(PIN);
    await t.rejects(a.unpin(PIN), { code: 'NO_SUCH_GENERATION' });
    await t.rejects(a.fetchPin(PIN), { code: 'NO_SUCH_GENERATION' });
    t.strictSame(await a.pins({ uuid: UUID }), []);
    t.equal(await headNumber(b), 2, 'its generation stays');
  });

  await t.test('what is not there is not kept', async (t) => {
    const { a } = await makeShare();
    await t.rejects(a.pin({ ...PIN, slot: 'head' }), { code: 'NO_SUCH_DOMAIN' });
    await t.rejects(a.pins({ uuid: UUID }), { code: 'NO_SUCH_DOMAIN' });
    await claimed(a);
    await t.rejects(a.pin({ ...PIN, slot: 'head' }), { code: 'NO_SUCH_GENERATION' });
    await t.rejects(a.pin({ ...PIN, slot: 7 }), { code: 'NO_SUCH_GENERATION' });
    t.strictSame(await a.pins({ uuid: UUID }), []);
  });
}

async function purging(t: Test, makeShare: MakeServices): Promise<void> {
  await t.test('a purged volume is gone with all that it had, and its neighbour is not', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    for (const number of [1, 2]) await publish(former, number);
    await a.pin({ ...PIN, slot: 'head' });
    await diverge(former, 9);
    await close(former);
    await publish(await hold(a, 'free', OTHER_UUID), 7);
    t.strictSame(await b.purge(PURGE), { kind: 'purged' });
    t.equal(await read(a), undefined);
    t.match(await a.survey(SURVEY), { volumes: [OTHER_UUID], strays: [] });
    t.equal(await headNumber(a, OTHER_UUID), 7);
    await t.rejects(a.purge(PURGE), { code: 'NO_SUCH_DOMAIN' });
    await t.rejects(a.fetchPin(PIN), { code: 'NO_SUCH_GENERATION' });
  });

  await t.test('a volume is made anew under the same UUID, from its first slot', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    await close(former);
    await b.purge(PURGE);
    const held = await hold(a);
    t.equal(held.epoch, 1);
    await publish(held, 5);
    t.equal(await headNumber(b), 5);
    t.match(await b.verify({ uuid: UUID }), { checked: 1, damaged: { length: 0 } });
  });

  await t.test('G7: what has come into use since the look is not purged', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    await publish(held, 1);
    await close(held);
    const top = (await read(b))?.log.top ?? 0;
    await close(await hold(a));
    t.match(await b.purge({ ...PURGE, onTopOf: top }), { kind: 'moved' });
    t.equal(await headNumber(b), 1);
    t.strictSame(await b.purge({ ...PURGE, onTopOf: top + 2 }), { kind: 'purged' });
  });
}

async function purgingBesideAHolder(t: Test, makeShare: MakeServices): Promise<void> {
  await t.test('G7: a volume that a living host holds is not purged', async (t) => {
    const { a, b } = await makeShare();
    const held = await hold(a);
    await publish(held, 1);
    t.match(await b.purge(PURGE), { kind: 'held', holder: { host: 'kvm-a', alive: true } });
    await publish(held, 2);
    t.equal(await headNumber(b), 2);
  });

  await t.test('G7: a host that was taken for dead brings no purged volume back', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    await a.leave({});
    t.strictSame(await b.purge(PURGE), { kind: 'purged' });
    await t.rejects(tryPublish(former, 2), { code: 'OUTCOME_UNKNOWN' }, 'a claim is to settle it');
    t.match(await close(former), { kind: 'fenced', by: undefined });
    t.equal(await read(b), undefined);
    t.match(await b.survey(SURVEY), { volumes: [], strays: [] });
  });

  await t.test('G3: nor does it change a volume that was made anew since', async (t) => {
    const { a, b } = await makeShare();
    const former = await hold(a);
    await publish(former, 1);
    await a.leave({});
    await b.purge(PURGE);
    const held = await hold(b);
    await publish(held, 5);
    t.strictSame(await tryPublish(former, 2), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    t.strictSame(await close(former), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    await publish(held, 6);
    t.equal(await headNumber(a), 6);
    t.match(await read(a), { holder: { host: 'kvm-b', epoch: 1 } });
  });
}
