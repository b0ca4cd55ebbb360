import t from 'tap';
import { tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { close, diverge, hold, publish, type Hold } from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;

/** Epoch 1 with slots 2 and 3, epoch 4 with slots 5 and 6: captures 1 to 4. */
async function twoEpochs(): Promise<{ hosts: VolumeHosts; held: Hold }> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const first = await hold(store);
  for (const number of [1, 2]) await publish(first, number);
  const held = await hold(store, 'own');
  for (const number of [3, 4]) await publish(held, number);
  return { hosts, held };
}

async function removeGenerations({ files }: VolumeHosts, ...slots: number[]): Promise<void> {
  for (const name of await files.readdir('test:readdir', `${VOLUME}/gen`)) {
    if (slots.includes(Number(name.slice(0, 8)))) await files.unlink('test:unlink', `${VOLUME}/gen/${name}`);
  }
}

t.test('verify tells a lost generation from what pruning took', async (t) => {
  for (const [lost, damaged, checked] of [
    [[], [], 4],
    [[2], [], 3],
    [[2, 3], [], 2],
    [[3], [3], 4],
    [[2, 5], [5], 3],
    [[2, 3, 5], [5], 2],
    [[6], [6], 4],
    [[2, 3, 5, 6], [5, 6], 2],
  ] as const) {
    const { hosts, held } = await twoEpochs();
    await removeGenerations(hosts, ...lost);
    const result = await held.store.verify({ uuid: UUID });
    t.strictSame(
      result.damaged.map(({ name }) => name.slot),
      damaged,
      `lost ${lost.join()}`,
    );
    t.equal(result.checked, checked);
    const lines = await held.store.history({ uuid: UUID });
    t.strictSame(
      lines
        .filter(({ damage }) => damage)
        .map(({ slot }) => slot)
        .reverse(),
      damaged,
    );
  }
});

t.test('verify reads diverged copies too', async (t) => {
  const { hosts, held } = await twoEpochs();
  await hold(hosts.start('kvm-b').store, 'forced');
  await diverge(held, 9);
  t.match(await held.store.verify({ uuid: UUID }), { checked: 5, damaged: { length: 0 } });
  const [name = ''] = await hosts.files.readdir('test:readdir', `${VOLUME}/diverged`);
  const file = await hosts.files.open('test:open', `${VOLUME}/diverged/${name}`, 'overwrite');
  await file.write('test:write', new Uint8Array(50), 200);
  await file.close('test:close');
  t.match(await held.store.verify({ uuid: UUID }), { checked: 5, damaged: [{ name: { host: 'kvm-a' } }] });
  t.match(
    (await held.store.history({ uuid: UUID })).find(({ kind }) => kind === 'diverged'),
    { damage: { code: 'GENERATION_DAMAGED' } },
  );
});

t.test('a share that does not answer is no verdict on a volume', async (t) => {
  for (const site of ['log:readdir', 'history:readdir-gen', 'diverged:readdir'] as const) {
    const { hosts } = await twoEpochs();
    for (const ask of ['verify', 'history'] as const) {
      const inject = injectAt(site, { kind: 'fail', code: 'EIO', executed: false });
      const asked: Promise<unknown> = hosts.start('kvm-b', { inject }).store[ask]({ uuid: UUID });
      await t.rejects(asked, { code: 'SHARE_UNAVAILABLE' }, `${ask}, ${site}`);
    }
  }
});

t.test('the head is the last publish of an epoch, released or not', async (t) => {
  const { held } = await twoEpochs();
  await close(held);
  const lines = await held.store.history({ uuid: UUID });
  t.match(lines[0], { kind: 'release', slot: 7, epoch: 4, reason: 'stop', head: false });
  t.match(lines[1], { kind: 'publish', slot: 6, head: true, sha256: tpmCapture(4).digest });
  t.equal(lines.filter(({ head }) => head).length, 1);
});
