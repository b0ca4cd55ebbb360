import t from 'tap';
import { UUID } from '../../fixtures/tpm-captures.js';
import { VolumeHosts } from '../../fixtures/volume-hosts.js';
import { close, hold, publish } from '../../fixtures/volume-steps.js';

const SECOND_MS = 1_000;

/** kvm-a has slots 1 to 3, made in seconds 10, 20 and 30; kvm-b has 4 and 5, made in seconds 40 and 50. It is second 60. */
async function handedOn(): Promise<VolumeHosts> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const tenSeconds = (): Promise<void> => hosts.pass(10 * SECOND_MS);
  await tenSeconds();
  const held = await hold(store);
  await tenSeconds();
  await publish(held, 1);
  await tenSeconds();
  await close(held);
  await tenSeconds();
  const next = await hold(hosts.start('kvm-b').store);
  await tenSeconds();
  await publish(next, 2);
  await tenSeconds();
  return hosts;
}

t.test('the log of an earlier instant is told by the times of its entries', async (t) => {
  const hosts = await handedOn();
  const { store } = hosts.start('kvm-c');
  for (const [second, top, claim] of [
    [5, 0, [undefined, undefined]],
    [15, 1, [1, 'kvm-a']],
    [35, 3, [1, 'kvm-a']],
    [45, 4, [4, 'kvm-b']],
    [60, 5, [4, 'kvm-b']],
  ] as const) {
    const found = await store.recall({ uuid: UUID, atMs: second * SECOND_MS });
    t.equal(found.top, top, `second ${second}`);
    const { slot, host } = found.lastClaim ?? {};
    t.strictSame([slot, host], claim, `second ${second}`);
  }
});

t.test('what pruning took may have stood there', async (t) => {
  const hosts = await handedOn();
  const held = await hold(hosts.start('kvm-b').store, 'own');
  await publish(held, 3);
  await held.store.tidy({ uuid: UUID, epoch: held.epoch, keep: 1 });
  const { store } = hosts.start('kvm-c');
  t.strictSame(await store.recall({ uuid: UUID, atMs: 15 * SECOND_MS }), {
    top: 5,
    lastClaim: undefined,
    contested: false,
  });
});

t.test('a volume that is not there had no log', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  t.strictSame(await store.recall({ uuid: UUID, atMs: 0 }), {
    top: 0,
    lastClaim: undefined,
    contested: false,
  });
});

t.test(
  'a holder that was replaced may run on, also when pruning has taken what it was taken from',
  async (t) => {
    const hosts = await handedOn();
    const { store } = hosts.start('kvm-c');
    const contested = async (): Promise<boolean> => (await store.recall({ uuid: UUID, atMs: 0 })).contested;
    t.equal(await contested(), false, 'handed on in good order');
    const held = await hold(store, 'forced', UUID, 'take-over');
    t.equal(await contested(), true);
    await publish(held, 3);
    await store.tidy({ uuid: UUID, epoch: held.epoch, keep: 1 });
    t.equal(await contested(), true, 'after pruning');
  },
);
