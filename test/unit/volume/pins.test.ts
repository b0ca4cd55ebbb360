import t from 'tap';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { numberOf, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts, type VolumeHost } from '../../fixtures/volume-hosts.js';
import { hold, publish, type Hold } from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const NAME = parseSnapshotName('before-update');
const PIN = { uuid: UUID, name: NAME };

async function makeVolume(): Promise<{ hosts: VolumeHosts; host: VolumeHost; held: Hold }> {
  const hosts = new VolumeHosts();
  const host = hosts.start('kvm-a');
  await host.store.initialise({});
  const held = await hold(host.store);
  for (const number of [1, 2]) await publish(held, number);
  return { hosts, host, held };
}

t.test('a snapshot outlives the pruning of its generation', async (t) => {
  const { host, held } = await makeVolume();
  const { store } = host;
  t.match(await store.pin({ ...PIN, slot: 2 }), { name: NAME, manifest: { slot: 2 }, inLog: true });
  for (const number of [3, 4]) await publish(held, number);
  const fresh = await hold(store, 'own');
  await publish(fresh, 5);
  await store.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
  await t.rejects(store.fetch({ uuid: UUID, slot: 2, fallBack: false }), { code: 'NO_SUCH_GENERATION' });
  t.equal(numberOf((await store.fetchPin(PIN)).capture), 1);
  t.match(await store.pins({ uuid: UUID }), [{ name: NAME, manifest: { slot: 2 }, inLog: false }]);
});

t.test('a name is given once, and the same again is fine', async (t) => {
  const { store } = (await makeVolume()).host;
  await store.pin({ ...PIN, slot: 'head' });
  await store.pin({ ...PIN, slot: 3 });
  await t.rejects(store.pin({ ...PIN, slot: 2 }), { code: 'USAGE' });
  await store.unpin(PIN);
  await t.rejects(store.unpin(PIN), { code: 'NO_SUCH_GENERATION' });
  await t.rejects(store.fetchPin(PIN), { code: 'NO_SUCH_GENERATION' });
  t.strictSame(await store.pins({ uuid: UUID }), []);
  await store.pin({ ...PIN, slot: 2 });
  t.match(await store.history({ uuid: UUID }), [
    { slot: 3, pins: [] },
    { slot: 2, pins: [NAME] },
    { slot: 1 },
  ]);
});

t.test('a lost reply of the link is no error', async (t) => {
  const { hosts } = await makeVolume();
  const inject = injectAt('pin:link', { kind: 'fail', code: 'EEXIST', executed: true });
  const { store } = hosts.start('kvm-b', { inject });
  t.match(await store.pin({ ...PIN, slot: 'head' }), { manifest: { slot: 3 } });
});

t.test('G6: nothing damaged is made a snapshot, and a snapshot that is damaged later is named', async (t) => {
  const { hosts, host } = await makeVolume();
  const { store } = host;
  await store.pin({ ...PIN, slot: 'head' });
  await hosts.plant(`${SHARE}/volumes/${UUID}/pins/${NAME}.tar.gz`, 'torn');
  await t.rejects(store.pin({ ...PIN, name: parseSnapshotName('other'), slot: 'head' }), {
    code: 'GENERATION_DAMAGED',
  });
  t.match(await store.pins({ uuid: UUID }), [{ name: NAME, damage: { code: 'GENERATION_DAMAGED' } }]);
});

t.test('the snapshots of a volume that is not there are an error', async (t) => {
  const { host } = await makeVolume();
  const uuid = '11111111-2222-4333-8444-555555555555' as typeof UUID;
  await t.rejects(host.store.pins({ uuid }), { code: 'NO_SUCH_DOMAIN' });
  await t.rejects(host.store.pin({ ...PIN, uuid, slot: 'head' }), { code: 'NO_SUCH_DOMAIN' });
});
