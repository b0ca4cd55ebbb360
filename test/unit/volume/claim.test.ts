import t from 'tap';
import { formatSlot } from '../../../src/model/generation-name.js';
import { interceptFileSystem, type Interceptor } from '../../fakes/intercepting-filesystem.js';
import { holdBack } from '../../fixtures/held-back.js';
import { UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimCall,
  claimed,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
  type Hold,
} from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const LOG = `${SHARE}/volumes/${UUID}/log`;

async function makeShare(seed = 1): Promise<VolumeHosts> {
  const hosts = new VolumeHosts(seed);
  await hosts.start('kvm-c').store.initialise({});
  return hosts;
}

/** The holder moves on until slots 1 to 8 are pruned. */
async function moveOn(held: Hold): Promise<void> {
  for (let number = held.next; held.next <= 8; number++) await publish(held, number);
  const fresh = await hold(held.store, 'own');
  for (const number of [20, 21]) await publish(fresh, number);
  await held.store.tidy({ uuid: UUID, epoch: fresh.epoch, keep: 1 });
}

t.test('G3: hosts that claim one volume at once never hold it together, at any interleaving', async (t) => {
  for (let seed = 0; seed < 60; seed++) {
    const hosts = await makeShare(seed);
    const names = ['kvm-a', 'kvm-b', 'kvm-d'];
    const stores = names.map((name) => hosts.start(name, { wrap: hosts.shuffling() }).store);
    const scope = seed % 2 ? 'free' : 'forced';
    const outcomes = await Promise.all(stores.map((store) => store.claim(claimCall(scope))));
    const epochs = outcomes.flatMap((outcome) => (outcome.kind === 'claimed' ? [outcome.epoch] : []));
    t.equal(new Set(epochs).size, epochs.length, 'no two hold the same epoch');
    t.ok(epochs.length >= 1);
    if (scope === 'free') t.equal(epochs.length, 1);
    const volume = await read(hosts.start('kvm-c').store);
    t.equal(volume?.log.epoch, Math.max(...epochs));
    t.equal(volume?.log.top, volume?.log.entries.length, 'no slot is skipped');
  }
});

t.test('G4: whoever wins a race with a publish has it as its head, or the publish is fenced', async (t) => {
  for (let seed = 0; seed < 60; seed++) {
    const hosts = await makeShare(seed);
    const former = await hold(hosts.start('kvm-a').store);
    const racing = { ...former, store: hosts.start('kvm-a', { wrap: hosts.shuffling() }).store };
    const taker = hosts.start('kvm-b', { wrap: hosts.shuffling() }).store;
    const [published, { log }] = await Promise.all([tryPublish(racing, 1), claimed(taker, 'forced')]);
    t.equal(log.head?.slot, published.kind === 'committed' ? published.slot : undefined);
    t.equal(await headNumber(taker), published.kind === 'committed' ? 1 : 0);
  }
});

t.test('a claim that was overtaken while it was under way is decided anew', async (t) => {
  const hosts = await makeShare();
  const { wrap, reached, letGo } = holdBack('claim:symlink');
  const late = hosts.start('kvm-a', { wrap }).store.claim(claimCall('free'));
  await reached;
  await claimed(hosts.start('kvm-b').store);
  letGo();
  t.match(await late, { kind: 'held', holder: { host: 'kvm-b', epoch: 1 } });
});

t.test('G3: a claim that lands in a slot that was taken and pruned meanwhile is no claim', async (t) => {
  for (const slotsBefore of [0, 3]) {
    const hosts = await makeShare();
    const first = await hold(hosts.start('kvm-b').store);
    if (slotsBefore === 0) await hosts.files.rename('test:rename', `${SHARE}/volumes/${UUID}`, '/aside');
    else for (const number of [1, 2]) await publish(first, number);
    const { wrap, reached, letGo } = holdBack('claim:symlink');
    const late = hosts.start('kvm-a', { wrap }).store.claim(claimCall('forced'));
    await reached;
    const holder = slotsBefore === 0 ? await hold(hosts.start('kvm-b').store) : first;
    await moveOn(holder);
    const before = await read(hosts.start('kvm-c').store);
    letGo();
    t.match(await late, {
      kind: 'claimed',
      epoch: 12,
      log: { head: { slot: 11 } },
      from: { host: 'kvm-b', epoch: 9 },
    });
    t.ok(
      (await hosts.files.readdir('test:readdir', LOG)).includes(formatSlot(slotsBefore + 1)),
      'it did land',
    );
    t.match(before?.log, { epoch: 9, head: { slot: 11 } });
    t.equal(await headNumber(hosts.start('kvm-c').store), 21);
  }
});

t.test('a late claim just below the log changes nothing in it', async (t) => {
  const hosts = await makeShare();
  const holder = await hold(hosts.start('kvm-b').store);
  await moveOn(holder);
  const late = 'claim?host=kvm-a&token=00112233445566aa&at=2026-01-01T00:00:00.000Z&reason=start';
  await hosts.files.symlink('test:symlink', late, `${LOG}/${formatSlot(8)}`);
  t.match(await read(hosts.start('kvm-a').store), {
    holder: { host: 'kvm-b', epoch: 9 },
    log: { head: { slot: 11 } },
  });
  t.equal(await headNumber(hosts.start('kvm-a').store), 21);
});

t.test('a claim that took place and cannot be read back is in doubt', async (t) => {
  const hosts = await makeShare();
  const inject = injectAt('log:readdir', { kind: 'fail', code: 'EIO', executed: false }, 1);
  const { store } = hosts.start('kvm-a', { inject });
  await t.rejects(store.claim(claimCall()), { code: 'OUTCOME_UNKNOWN', retriable: true });
  t.match(await store.claim(claimCall('own')), { kind: 'claimed', epoch: 2 });
});

t.test('who loses every race is told so', async (t) => {
  const hosts = await makeShare();
  const rival = hosts.start('kvm-b').store;
  const rivalled: Interceptor = async (call, proceed) => {
    const result = await proceed();
    if (call.site === 'log:readdir') await rival.claim(claimCall('forced'));
    return result;
  };
  const { store } = hosts.start('kvm-a', { wrap: (fs) => interceptFileSystem(fs, rivalled) });
  await claimed(rival);
  await t.rejects(store.claim(claimCall('forced')), { code: 'TAKE_OVER_LOST', retriable: true });
  t.match(await read(rival), { holder: { host: 'kvm-b' } });
});
