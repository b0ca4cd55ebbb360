import t from 'tap';
import { holdBack } from '../../fixtures/held-back.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { claimCall, claimed, EXPIRY_MS, hold, publish, read } from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

t.test('a host is alive for as long as its heartbeat is young by the time of the server', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  const other = hosts.start('kvm-b').store;
  await store.initialise({});
  await claimed(store);
  await hosts.pass(EXPIRY_MS - 1);
  t.match(await read(other), { holder: { alive: true, heartbeatAgeMs: EXPIRY_MS - 1 } });
  t.equal((await other.claim(claimCall('expired', 'take-over'))).kind, 'held');
  await hosts.pass(1);
  t.match(await read(other), { holder: { alive: false, heartbeatAgeMs: EXPIRY_MS } });
  await store.beat({ shareId: undefined });
  t.match(await read(other), { holder: { alive: true, heartbeatAgeMs: 0 } });
  await hosts.pass(EXPIRY_MS);
  t.match(await other.claim(claimCall('expired', 'take-over')), { kind: 'claimed', from: { host: 'kvm-a' } });
});

t.test('G3: an expired host that comes back is fenced', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const former = await hold(store);
  await hosts.pass(EXPIRY_MS);
  await claimed(hosts.start('kvm-b').store, 'expired');
  await store.beat({ shareId: undefined });
  await t.rejects(publish(former, 1), /fenced in slot 2 by kvm-b/);
});

t.test('a heartbeat is one file that is written in place, at one length', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const sizes = new Set<number>();
  const inodes = new Set<bigint>();
  for (let beat = 0; beat < 3; beat++) {
    await store.beat({ shareId: undefined });
    await hosts.pass(5000);
    const { size, inode } = await hosts.files.lstat('test:lstat', `${SHARE}/hosts/kvm-a/heartbeat`);
    sizes.add(size);
    inodes.add(inode);
  }
  t.equal(sizes.size, 1);
  t.equal(inodes.size, 1);
});

t.test(
  'a heartbeat tells the version of the program, in the same one write of the same length',
  async (t) => {
    const hosts = new VolumeHosts();
    const names = ['silent', 'short', 'long', 'strange'];
    const versions = [undefined, '1.2.3', `1.2.3-${'x'.repeat(60)}`, 'a b'];
    await hosts.start('looker').store.initialise({});
    const sizes = new Set<number>();
    for (const [at, name] of names.entries()) {
      const version = versions[at];
      const { store } = hosts.start(name, version === undefined ? {} : { version });
      await store.beat({ shareId: undefined });
      const before = hosts.trace.events.length;
      await store.beat({ shareId: undefined });
      const calls = hosts.trace.events.slice(before).map(({ site }) => site);
      t.strictSame(
        calls.filter((site) => site.startsWith('heartbeat:')),
        ['heartbeat:write', 'heartbeat:fsync', 'heartbeat:stat'],
        name,
      );
      sizes.add((await hosts.files.lstat('test:lstat', `${SHARE}/hosts/${name}/heartbeat`)).size);
    }
    t.equal(sizes.size, 1);
    const looker = hosts.start('looker').store;
    const { hosts: seen } = await looker.survey({ hostExpiryMs: EXPIRY_MS, shareId: undefined });
    const told = Object.fromEntries(seen.map(({ host, version }) => [host, version]));
    t.same(told, {
      silent: undefined,
      short: '1.2.3',
      long: undefined,
      strange: undefined,
    });
  },
);

t.test('a heartbeat that failed is written through a new descriptor', async (t) => {
  const hosts = new VolumeHosts();
  const inject = injectAt('heartbeat:write', { kind: 'fail', code: 'ESTALE', executed: false }, 1);
  const { store } = hosts.start('kvm-a', { inject });
  await store.initialise({});
  await store.beat({ shareId: undefined });
  await t.rejects(store.beat({ shareId: undefined }), { code: 'SHARE_UNAVAILABLE', retriable: true });
  await store.beat({ shareId: undefined });
  const opened = hosts.trace.events.filter(({ site }) => site === 'heartbeat:open').length;
  t.equal(opened, 2);
});

t.test('a second machine with the name of a host is refused, and holds nothing', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  await claimed(store);
  const double = hosts.start('kvm-a', { self: { machineId: 'another machine' } }).store;
  await t.rejects(double.beat({ shareId: undefined }), { code: 'HOST_NAME_TAKEN', message: /kvm-a/ });
  await t.rejects(double.claim(claimCall('forced')), { code: 'HOST_NAME_TAKEN' });
  t.match(await read(store), { log: { top: 1 } });
  await hosts.start('kvm-a').store.beat({ shareId: undefined });
});

t.test('two machines that take one name at once: one of them has it', async (t) => {
  for (let seed = 0; seed < 40; seed++) {
    const hosts = new VolumeHosts(seed);
    await hosts.start('kvm-c').store.initialise({});
    const machines = ['one', 'two'].map((machineId) =>
      hosts.start('kvm-a', { self: { machineId }, wrap: hosts.shuffling() }),
    );
    const beats = await Promise.allSettled(machines.map(({ store }) => store.beat({ shareId: undefined })));
    const refused = beats.filter((beat) => beat.status === 'rejected');
    t.equal(refused.length, 1);
    t.match(refused[0], { reason: { code: 'HOST_NAME_TAKEN' } });
    const names = await hosts.files.readdir('test:readdir', `${SHARE}/hosts/kvm-a`);
    t.notOk(
      names.some((name) => name.startsWith('.tmp-')),
      'no temporary file stays',
    );
  }
});

t.test('a machine that is late with its claim to a name does not take it over', async (t) => {
  const hosts = new VolumeHosts();
  await hosts.start('kvm-c').store.initialise({});
  const { wrap, reached, letGo } = holdBack('host-record:link');
  const late = hosts.start('kvm-a', { self: { machineId: 'late' }, wrap }).store.beat({ shareId: undefined });
  await reached;
  await hosts.start('kvm-a', { self: { machineId: 'early' } }).store.beat({ shareId: undefined });
  letGo();
  await t.rejects(late, { code: 'HOST_NAME_TAKEN' });
  await hosts.start('kvm-a', { self: { machineId: 'early' } }).store.beat({ shareId: undefined });
});

t.test('a record of a host that cannot be read belongs to nobody here', async (t) => {
  for (const text of ['', '{', '{"machine":1}', 'null']) {
    const hosts = new VolumeHosts();
    const { store } = hosts.start('kvm-a');
    await store.initialise({});
    await hosts.files.mkdir('test:mkdir', `${SHARE}/hosts/kvm-a`, 0o700);
    await hosts.plant(`${SHARE}/hosts/kvm-a/host.json`, text);
    await t.rejects(store.beat({ shareId: undefined }), { code: 'HOST_NAME_TAKEN', next: /host\.json/ });
  }
});

t.test('who only looks does not look alive, and leaves nothing behind', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  await claimed(store);
  await hosts.pass(EXPIRY_MS);
  const looker = hosts.start('kvm-b').store;
  t.match(await read(looker), { holder: { host: 'kvm-a', alive: false, heartbeatAgeMs: EXPIRY_MS } });
  await looker.examine({ shareId: undefined });
  const { hosts: seen } = await looker.survey({ hostExpiryMs: EXPIRY_MS, shareId: undefined });
  t.match(seen, [
    { host: 'kvm-a', alive: false },
    { host: 'kvm-b', alive: false, heartbeatAgeMs: undefined },
  ]);
  const names = await hosts.files.readdir('test:readdir', `${SHARE}/hosts`);
  t.strictSame(names.sort(), ['kvm-a', 'kvm-b']);
});

t.test('what killed programs of this host left half done goes with its first heartbeat', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  await store.beat({ shareId: undefined });
  const left = [
    `${SHARE}/hosts/.tmp-clock-kvm-a-0011223344556677`,
    `${SHARE}/hosts/kvm-a/.tmp-host-0011223344556677`,
  ];
  const others = `${SHARE}/hosts/.tmp-clock-kvm-b-0011223344556677`;
  for (const path of [...left, others]) await hosts.plant(path, 'x');
  await hosts.start('kvm-a').store.beat({ shareId: undefined });
  t.strictSame((await hosts.files.readdir('test:readdir', `${SHARE}/hosts/kvm-a`)).sort(), [
    'heartbeat',
    'host.json',
  ]);
  t.strictSame((await hosts.files.readdir('test:readdir', `${SHARE}/hosts`)).sort(), [
    '.tmp-clock-kvm-b-0011223344556677',
    'kvm-a',
  ]);
});
