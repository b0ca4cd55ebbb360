import t from 'tap';
import { UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { close, hold, publish } from '../../fixtures/volume-steps.js';

/** Epochs of three hosts, one after the other; the records of some are removed afterwards. */
async function after(removed: readonly string[]): Promise<VolumeHosts> {
  const hosts = new VolumeHosts();
  await hosts.start('kvm-a').store.initialise({});
  for (const [number, name] of ['kvm-a', 'kvm-b', 'kvm-c'].entries()) {
    const held = await hold(hosts.start(name).store);
    await publish(held, number + 1);
    await close(held);
  }
  for (const name of removed) await hosts.files.rename('test:rename', `${SHARE}/hosts/${name}`, `/${name}`);
  return hosts;
}

t.test('an entry of a host without a record on the share is told, wherever a log is told of', async (t) => {
  for (const removed of [[], ['kvm-b'], ['kvm-c'], ['kvm-b', 'kvm-c']]) {
    const hosts = await after(removed);
    const { store } = hosts.start('kvm-a');
    const title = removed.join(' and ') || 'nobody';
    t.strictSame((await store.verify({ uuid: UUID })).strangers, removed, `verify: ${title}`);
    t.strictSame((await store.summarise({ uuid: UUID })).strangers, removed, `summary: ${title}`);
    const story = await store.history({ uuid: UUID });
    const told = new Set(story.filter(({ stranger }) => stranger).map(({ host }) => host));
    t.strictSame([...told].sort(), removed, `history: ${title}`);
    t.equal(
      story.filter(({ host }) => removed.includes(host)).every(({ stranger }) => stranger),
      true,
      'every entry of it',
    );
    const held = await hold(store, 'free');
    const call = { uuid: UUID, epoch: held.epoch, keep: 32, live: undefined };
    t.strictSame((await store.tidy(call)).strangers, removed, `the holder: ${title}`);
  }
});

t.test('a volume of one host alone costs no listing of the hosts', async (t) => {
  const hosts = new VolumeHosts();
  const sites: string[] = [];
  const { store } = hosts.start('kvm-a', {
    inject: ({ site }) => {
      sites.push(site);
      return undefined;
    },
  });
  await store.initialise({});
  const held = await hold(store);
  await publish(held, 1);
  await store.tidy({ uuid: UUID, epoch: held.epoch, keep: 32, live: undefined });
  t.notOk(sites.includes('strangers:readdir'));
});
