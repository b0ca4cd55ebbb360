import t from 'tap';
import type { FileSystem } from '../../../src/model/filesystem.js';
import type { HostIdentity } from '../../../src/model/host-identity.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { hostNamed } from '../../fixtures/host-identity.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimCall,
  claimed,
  EXPIRY_MS,
  hold,
  publish,
  read,
  tryPublish,
} from '../../fixtures/volume-steps.js';

const BEAT = { shareId: undefined };
const OLD = hostNamed('kvm-a');
const SELF: Partial<HostIdentity> = {
  ...OLD,
  name: hostNamed('kvm-a.example.org').name,
  formerNames: [OLD.name],
  leaving: [OLD.name],
};

async function namesOf(hosts: VolumeHosts): Promise<string[]> {
  return (await hosts.files.readdir('test:readdir', `${SHARE}/hosts`)).sort();
}

/** The n-th call fails, and all after it. */
function failingAt(n: number): {
  readonly wrap: (fs: FileSystem) => FileSystem;
  readonly failed: () => boolean;
} {
  let calls = 0;
  const wrap = (fs: FileSystem): FileSystem =>
    interceptFileSystem(fs, async (_call, proceed) => {
      if (++calls > n) throw Object.assign(new Error('cut off'), { code: 'EIO' });
      return await proceed();
    });
  return { wrap, failed: () => calls > n };
}

t.test('G3, G4: a renamed host is itself: it holds what it held, and publishes on', async (t) => {
  const hosts = new VolumeHosts();
  const before = hosts.start('kvm-a').store;
  await before.initialise({});
  const former = await hold(before);
  await publish(former, 1);
  const { store } = hosts.start('kvm-a.example.org', { self: SELF });
  t.match((await read(store)) ?? {}, { holder: { host: 'kvm-a', self: true } });
  await t.rejects(tryPublish({ ...former, store }, 2), { code: 'OUTCOME_UNKNOWN' }, 'it claims first');
  const held = await hold(store, 'own', undefined, 'recover');
  await publish(held, 2);
  const other = hosts.start('kvm-b').store;
  t.match((await read(other)) ?? {}, {
    holder: { host: 'kvm-a.example.org', alive: true },
    log: { published: [{ slot: 2 }, { slot: 4 }], diverged: [] },
  });
});

t.test(
  'G4: a renamed host lives under its former name for as long as it holds anything under it',
  async (t) => {
    const hosts = new VolumeHosts();
    const before = hosts.start('kvm-a').store;
    await before.initialise({});
    await claimed(before);
    const { store } = hosts.start('kvm-a.example.org', { self: SELF });
    const other = hosts.start('kvm-b').store;
    for (let at = 0; at < 3 * EXPIRY_MS; at += 5000) {
      await store.beat(BEAT);
      t.equal((await other.claim(claimCall('expired', 'take-over'))).kind, 'held');
      await hosts.pass(5000);
    }
    t.same(await store.leaveFormerNames({}), ['kvm-a']);
    t.same(await namesOf(hosts), ['kvm-a.example.org', 'kvm-b']);
    // Should a claim under the former name be left all the same, whoever has its id is the host.
    await store.beat(BEAT);
    t.equal((await other.claim(claimCall('expired', 'take-over'))).kind, 'held');
    await hosts.pass(EXPIRY_MS);
    t.equal((await other.claim(claimCall('expired', 'take-over'))).kind, 'claimed');
  },
);

t.test('a former name is taken away whole, whatever fails on the way', async (t) => {
  for (let n = 0; ; n++) {
    const hosts = new VolumeHosts();
    const before = hosts.start('kvm-a').store;
    await before.initialise({});
    await before.beat(BEAT);
    const { wrap, failed } = failingAt(n);
    const cut = hosts.start('kvm-a.example.org', { self: SELF, wrap }).store;
    const told = await cut.leaveFormerNames({}).catch(() => undefined);
    const { store } = hosts.start('kvm-a.example.org', { self: SELF });
    await store.beat(BEAT);
    await store.leaveFormerNames({});
    t.same(await namesOf(hosts), ['kvm-a.example.org'], `cut off after ${String(n)} calls`);
    if (told && !failed()) break;
  }
});

t.test('a former name that is another host’s by now is left alone', async (t) => {
  const hosts = new VolumeHosts();
  const other = hosts.start('kvm-a', { self: { machineId: 'another machine' } }).store;
  await other.initialise({});
  await other.beat(BEAT);
  const { store } = hosts.start('kvm-a.example.org', { self: SELF });
  await store.beat(BEAT);
  await store.leaveFormerNames({});
  t.same(await namesOf(hosts), ['kvm-a', 'kvm-a.example.org']);
  t.notOk((await other.beat(BEAT)).double, 'nor does anybody beat there but itself');
});

t.test(
  'a host that was registered by program 0.1.0 keeps its name, and another machine does not get it',
  async (t) => {
    const hosts = new VolumeHosts();
    const { store } = hosts.start('kvm-a');
    await store.initialise({});
    await store.beat(BEAT);
    await hosts.plant(`${SHARE}/hosts/kvm-a/host.json`, `${JSON.stringify({ machineId: OLD.machineId })}\n`);
    const other = hosts.start('kvm-a', { self: { machineId: 'another machine' } }).store;
    await t.rejects(other.beat(BEAT), { code: 'HOST_NAME_TAKEN' });
    const upgraded = hosts.start('kvm-a').store;
    await upgraded.beat(BEAT);
    const record = await hosts.files.open('test:open', `${SHARE}/hosts/kvm-a/host.json`, 'read');
    const text = Buffer.from(await record.read('test:read', 4096, 0)).toString();
    t.match(JSON.parse(text), { machineId: OLD.machineId, id: OLD.id });
    await t.rejects(other.beat(BEAT), { code: 'HOST_NAME_TAKEN' });
  },
);
