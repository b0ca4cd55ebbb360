import t from 'tap';
import { OTHER_UUID, tpmCapture, NOTE, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { diverge, hold, publish, type Hold } from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const DIVERGED = `${SHARE}/volumes/${UUID}/diverged`;

/** Hosts kvm-a (epoch 1) and a (epoch 3) were both fenced by kvm-b. */
async function fencedHosts(): Promise<{ hosts: VolumeHosts; first: Hold; second: Hold }> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const first = await hold(store);
  await publish(first, 1);
  const second = await hold(hosts.start('a').store, 'forced');
  await publish(await hold(hosts.start('kvm-b').store, 'forced'), 2);
  return { hosts, first, second };
}

async function kept(hosts: VolumeHosts): Promise<[string, string | undefined][]> {
  const lines = await hosts.start('kvm-b').store.history({ uuid: UUID });
  const diverged = lines.filter(({ kind }) => kind === 'diverged');
  return diverged.map(({ host, sha256 }): [string, string | undefined] => [host, sha256]).sort();
}

t.test('G5: a copy goes when another comes after it; those of other hosts and epochs stay', async (t) => {
  const { hosts, first, second } = await fencedHosts();
  await diverge({ ...first, epoch: 2 }, 10);
  await diverge({ ...first, epoch: 2 }, 11);
  await diverge(first, 11);
  await diverge(first, 12, 11);
  await diverge(second, 21);
  await diverge(second, 22, 21);
  const expected = [
    ['a', tpmCapture(22).digest],
    ['kvm-a', tpmCapture(10).digest],
    ['kvm-a', tpmCapture(11).digest],
    ['kvm-a', tpmCapture(12).digest],
  ];
  t.strictSame(await kept(hosts), expected.sort());
});

t.test('G5: two states of one claim stay, when nobody says that one comes after the other', async (t) => {
  const { hosts, first } = await fencedHosts();
  for (const number of [11, 12]) await diverge(first, number);
  t.equal((await kept(hosts)).length, 2);
  t.match(await first.store.verify({ uuid: UUID }), { checked: 4, damaged: { length: 0 } });
});

t.test('one content of one host is kept once, whatever other hosts have', async (t) => {
  const { hosts, first, second } = await fencedHosts();
  for (const held of [first, second, first]) await diverge(held, 11);
  const { digest } = tpmCapture(11);
  t.strictSame(await kept(hosts), [
    ['a', digest],
    ['kvm-a', digest],
  ]);
});

t.test('G5: a copy that an earlier run did not finish is not taken for a copy', async (t) => {
  for (const site of ['diverge:write', 'diverge:fsync', 'diverge:rename'] as const) {
    const { hosts, first } = await fencedHosts();
    const { store, process } = hosts.start('kvm-a', {
      inject: injectAt(site, { kind: 'kill', executed: false }),
    });
    const killed = new Promise<void>((resolve) => process.onEnd(resolve));
    void diverge({ ...first, store }, 11);
    await killed;
    t.equal((await kept(hosts)).length, 0);
    await diverge(first, 11);
    t.strictSame(await kept(hosts), [['kvm-a', tpmCapture(11).digest]], site);
    t.equal((await hosts.files.readdir('test:readdir', DIVERGED)).length, 1, 'nor does what it left stay');
  }
});

t.test('G5: the newer copy is durable before the older one goes', async (t) => {
  for (const site of ['diverge:fsync', 'diverge:close', 'diverge:rename', 'diverge:sync-gen'] as const) {
    const { hosts, first } = await fencedHosts();
    await diverge(first, 11);
    const inject = injectAt(site, { kind: 'fail', code: 'EIO', executed: false });
    await t.rejects(diverge({ ...first, store: hosts.start('kvm-a', { inject }).store }, 12, 11), {
      code: 'SHARE_UNAVAILABLE',
    });
    t.ok(
      (await kept(hosts)).some(([, digest]) => digest === tpmCapture(11).digest),
      site,
    );
  }
});

t.test('G5: a copy of a domain whose volume never came to be is kept', async (t) => {
  const { first } = await fencedHosts();
  const call = { uuid: OTHER_UUID, epoch: 0, slot: 1, capture: tpmCapture(1, OTHER_UUID), note: NOTE };
  await first.store.diverge(call);
  const { generation } = await first.store.fetch({ uuid: OTHER_UUID, slot: 'diverged', fallBack: false });
  t.equal(generation.capture.digest, call.capture.digest);
});
