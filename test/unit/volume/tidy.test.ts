import t from 'tap';
import { formatGenerationName, formatSlot } from '../../../src/model/generation-name.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { compress, decompress } from '../../../src/bundle/gzip.js';
import { readWhole } from '../../../src/volume/files.js';
import type { TidyResult } from '../../../src/volume/share-store.js';
import { tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimed,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
  type Hold,
} from '../../fixtures/volume-steps.js';
import { injectAt, injectAtCall, type Call } from '../../sim/injection.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;

async function heldVolume(): Promise<{ hosts: VolumeHosts; held: Hold }> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const held = await hold(store);
  await publish(held, 1);
  return { hosts, held };
}

function tidy({ store, epoch }: Hold, keep = 99): Promise<TidyResult> {
  return store.tidy({ uuid: UUID, epoch, keep });
}

async function list(hosts: VolumeHosts, directory: 'gen' | 'log' | 'diverged'): Promise<string[]> {
  return (await hosts.files.readdir('test:readdir', `${VOLUME}/${directory}`)).sort();
}

/** A publish that dies at a call and leaves what it wrote. */
async function dieAt(
  hosts: VolumeHosts,
  site: 'publish:symlink' | 'publish:rename',
  held: Hold,
  number: number,
): Promise<void> {
  const { process, store } = hosts.start('kvm-a', {
    inject: injectAt(site, { kind: 'kill', executed: false }),
  });
  const killed = new Promise<void>((resolve) => process.onEnd(resolve));
  void tryPublish({ ...held, store }, number);
  await killed;
}

t.test(
  'G4: a file that aims at a slot that is free is never removed: its commit may still arrive',
  async (t) => {
    const { hosts, held } = await heldVolume();
    await dieAt(hosts, 'publish:symlink', held, 2);
    await dieAt(hosts, 'publish:rename', held, 3);
    const before = await list(hosts, 'gen');
    t.match(await tidy(held), { removed: 0, diverged: 0 });
    t.strictSame(await list(hosts, 'gen'), before);
    const late = before.find((name) => name.startsWith(formatSlot(3))) ?? '';
    await hosts.files.symlink('test:symlink', `../gen/${late}`, `${VOLUME}/log/${formatSlot(3)}`);
    t.equal(await headNumber(hosts.start('kvm-b').store), 2, 'the commit that arrived late is whole');
  },
);

t.test('leftovers of a host that went on by itself are removed', async (t) => {
  const { hosts, held } = await heldVolume();
  await dieAt(hosts, 'publish:symlink', held, 2);
  await dieAt(hosts, 'publish:rename', held, 2);
  await publish(held, 3);
  t.match(await tidy(held), { removed: 2, diverged: 0 });
  t.equal((await list(hosts, 'gen')).length, 2);
  await dieAt(hosts, 'publish:symlink', held, 4);
  const again = await hold(held.store, 'own');
  t.match(await tidy(again), { removed: 1, diverged: 0 });
});

t.test('G5: what a fenced host left whole becomes a diverged copy, and what it left torn goes', async (t) => {
  const { hosts, held } = await heldVolume();
  await dieAt(hosts, 'publish:symlink', held, 2);
  await dieAt(hosts, 'publish:symlink', held, 1);
  await dieAt(hosts, 'publish:rename', held, 3);
  const torn = {
    slot: 3,
    epoch: 1,
    host: parseHostName('kvm-a'),
    digestPrefix: '0'.repeat(16),
    nonce: '1'.repeat(16),
  };
  await hosts.plant(`${VOLUME}/gen/${formatGenerationName(torn)}`, new Uint8Array(900));
  const holder = await hold(hosts.start('kvm-b').store, 'forced');
  t.match(await tidy(holder), { removed: 3, diverged: 1 });
  t.equal((await list(hosts, 'gen')).length, 1);
  const [line] = (await holder.store.history({ uuid: UUID })).filter(({ kind }) => kind === 'diverged');
  t.match(line, { host: 'kvm-a', sha256: tpmCapture(2).digest });
});

t.test('G5: a copy that cannot be read now is neither removed nor judged', async (t) => {
  const { hosts, held } = await heldVolume();
  await dieAt(hosts, 'publish:symlink', held, 2);
  const inject = injectAt('fetch:read', { kind: 'fail', code: 'EIO', executed: false });
  const holder = await hold(hosts.start('kvm-b', { inject }).store, 'forced');
  await t.rejects(tidy(holder), { code: 'SHARE_UNAVAILABLE', retriable: true });
  t.match(await tidy(holder), { removed: 0, diverged: 1 });
});

t.test(
  'G5: what a fenced host of a later version left is kept unread, and keeps nobody from tidying',
  async (t) => {
    const { hosts, held } = await heldVolume();
    await dieAt(hosts, 'publish:symlink', held, 2);
    const left = (await list(hosts, 'gen')).find((name) => name.startsWith(formatSlot(3))) ?? '';
    const archive = decompress(
      await readWhole(hosts.files, 'test', `${VOLUME}/gen/${left}`, 1 << 20),
      1 << 20,
    );
    const later = Buffer.from(archive).toString('latin1').replace('"format": 1', '"format": 3');
    await hosts.plant(`${VOLUME}/gen/${left}`, compress(Buffer.from(later, 'latin1')));
    const holder = await hold(hosts.start('kvm-b').store, 'forced');
    t.match(await tidy(holder), { removed: 0, diverged: 1 });
    t.match((await holder.store.verify({ uuid: UUID })).damaged, [
      { name: { slot: 3 }, error: { code: 'SHARE_VERSION' } },
    ]);
    t.match((await holder.store.history({ uuid: UUID }))[1], {
      kind: 'diverged',
      damage: { code: 'SHARE_VERSION' },
    });
  },
);

t.test('files that are none of ours are left alone', async (t) => {
  const { hosts, held } = await heldVolume();
  const names = ['.nfs0001', 'notes.txt', `${formatSlot(2)}.tar.gz`, '.tmp-x'];
  for (const name of names) await hosts.plant(`${VOLUME}/gen/${name}`, new Uint8Array(1));
  t.match(await tidy(held, 1), { removed: 0, diverged: 0 });
  t.equal((await list(hosts, 'gen')).length, 1 + names.length);
});

/** Epochs 1, 4, 7 and 10, each with two publishes; captures 1 to 8. */
async function fourEpochs(): Promise<{ hosts: VolumeHosts; held: Hold }> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  let held = await hold(store);
  for (let number = 1; number <= 8; number++) {
    if (number > 1 && number % 2 === 1) held = await hold(store, 'own');
    await publish(held, number);
  }
  return { hosts, held };
}

t.test('G4: pruning keeps at least what it is told, in whole epochs', async (t) => {
  for (const [keep, bottom] of [
    [0, 10],
    [1, 10],
    [2, 10],
    [3, 7],
    [4, 7],
    [5, 4],
    [7, 1],
    [8, 1],
    [99, 1],
  ] as const) {
    const { hosts, held } = await fourEpochs();
    await tidy(held, keep);
    const expected = Array.from({ length: 13 - bottom }, (_, at) => formatSlot(bottom + at));
    t.strictSame(await list(hosts, 'log'), expected, `keep ${String(keep)}`);
    const { damaged, checked } = await held.store.verify({ uuid: UUID });
    t.strictSame(damaged, []);
    t.ok(checked >= Math.min(keep, 8) && checked >= 1);
    t.equal((await list(hosts, 'gen')).length, checked);
    t.equal(await headNumber(hosts.start('kvm-b').store), 8);
  }
});

t.test(
  'G4: pruning that is interrupted at any call leaves the head, no damage, and less to prune',
  async (t) => {
    const clean = await fourEpochs();
    const calls: Call[] = [];
    const counting = clean.hosts.start('kvm-a', { inject: (call) => void calls.push(call) }).store;
    await tidy({ ...clean.held, store: counting }, 1);
    for (let nth = 1; nth <= calls.length; nth++) {
      for (const power of [undefined, 'ordered', 'independent'] as const) {
        const { hosts, held } = await fourEpochs();
        const { store, process } = hosts.start('kvm-a', {
          inject: injectAtCall(nth, { kind: 'kill', executed: false }),
        });
        const killed = new Promise<void>((resolve) => process.onEnd(resolve));
        void tidy({ ...held, store }, 1);
        await killed;
        if (power) hosts.powerLoss(power);
        const holder = await hold(hosts.start('kvm-b').store, 'forced');
        t.equal(await headNumber(holder.store), 8);
        if (power !== 'independent') t.strictSame((await holder.store.verify({ uuid: UUID })).damaged, []);
        t.ok(
          (await holder.store.history({ uuid: UUID })).every(
            ({ damage }) => power === 'independent' || !damage,
          ),
        );
        await publish(holder, 9);
        await tidy(holder, 1);
        t.strictSame(await list(hosts, 'log'), [formatSlot(13), formatSlot(14)]);
        t.equal((await list(hosts, 'gen')).length, 1);
      }
    }
  },
);

t.test(
  'G3: entries that arrive late in the pruned region change nothing, and go with the next pruning',
  async (t) => {
    const { hosts, held } = await fourEpochs();
    await tidy(held, 1);
    const before = await read(hosts.start('kvm-b').store);
    const generation = {
      epoch: 1,
      host: parseHostName('kvm-z'),
      digestPrefix: 'a'.repeat(16),
      nonce: 'b'.repeat(16),
    };
    for (const slot of [3, 6, 9]) {
      const claim = 'claim?host=kvm-z&token=00112233445566aa&at=2026-01-01T00:00:00.000Z&reason=start';
      await hosts.files.symlink('test:symlink', claim, `${VOLUME}/log/${formatSlot(slot)}`);
      const name = formatGenerationName({ ...generation, slot: slot - 1 });
      await hosts.plant(`${VOLUME}/gen/${name}`, new Uint8Array(9));
      if (slot > 2) {
        await hosts.files.symlink('test:symlink', `../gen/${name}`, `${VOLUME}/log/${formatSlot(slot - 1)}`);
      }
    }
    const after = await read(hosts.start('kvm-b').store);
    t.strictSame(after?.log.head, before?.log.head);
    t.strictSame(after?.holder?.epoch, before?.holder?.epoch);
    t.equal(await headNumber(hosts.start('kvm-b').store), 8);
    await tidy(held, 1);
    t.strictSame(await list(hosts, 'log'), [10, 11, 12].map(formatSlot));
    t.equal((await list(hosts, 'gen')).length, 2);
  },
);

t.test('G3: a removal by a fenced host that arrives late hits nothing that counts', async (t) => {
  const { hosts, held } = await fourEpochs();
  const doomed = [...(await list(hosts, 'gen')).slice(0, 6).map((name) => `gen/${name}`)];
  doomed.push(...(await list(hosts, 'log')).slice(0, 9).map((name) => `log/${name}`));
  const holder = await hold(hosts.start('kvm-b').store, 'forced');
  await publish(holder, 20);
  await tidy(held, 1).then(
    () => t.fail('a fenced host tidied'),
    () => undefined,
  );
  for (const path of doomed) await hosts.files.unlink('late:unlink', `${VOLUME}/${path}`);
  t.equal(await headNumber(holder.store), 20);
  t.strictSame((await holder.store.verify({ uuid: UUID })).damaged, []);
  t.equal((await claimed(hosts.start('kvm-c').store, 'forced')).log.head?.slot, 14);
});

t.test('an epoch that holds twice what is kept asks for a new one', async (t) => {
  const { held } = await heldVolume();
  for (const number of [2, 3]) await publish(held, number);
  t.match(await tidy(held, 2), { needsCompaction: false });
  await publish(held, 4);
  t.match(await tidy(held, 2), { needsCompaction: true });
  const fresh = await hold(held.store, 'own');
  t.match(await tidy(fresh, 2), { needsCompaction: false, removed: 0 });
});

t.test('a volume with a long past is pruned in several goes, and is whole in between', async (t) => {
  const { hosts, held } = await heldVolume();
  for (let number = 2; number <= 140; number++) await publish(held, number);
  const fresh = await hold(held.store, 'own');
  await publish(fresh, 141);
  t.match(await tidy(fresh, 1), { removed: 128 });
  t.match(await fresh.store.verify({ uuid: UUID }), { checked: 13, damaged: { length: 0 } });
  t.match(await tidy(fresh, 1), { removed: 153 });
  t.match(await fresh.store.verify({ uuid: UUID }), { checked: 1, damaged: { length: 0 } });
  t.equal(await headNumber(hosts.start('kvm-b').store), 141);
});
