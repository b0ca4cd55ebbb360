import t from 'tap';
import {
  formatGenerationName,
  formatSlot,
  parseGenerationName,
  SLOT_MAX,
} from '../../../src/model/generation-name.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
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
} from '../../fixtures/volume-steps.js';
import { injectAt } from '../../sim/injection.js';
import { systemError } from '../../sim/system-error.js';

const VOLUME = `${SHARE}/volumes/${UUID}`;
const LOG = `${VOLUME}/log`;

/** Epochs 1 (publishes in 2, 3) and 4 (publishes in 5, 6), both of kvm-a. */
async function twoEpochs(): Promise<VolumeHosts> {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const first = await hold(store);
  for (const number of [1, 2]) await publish(first, number);
  const second = await hold(store, 'own');
  for (const number of [3, 4]) await publish(second, number);
  return hosts;
}

async function replaceSlot(hosts: VolumeHosts, slot: number, target?: string): Promise<void> {
  const path = `${LOG}/${formatSlot(slot)}`;
  await hosts.files.unlink('test:unlink', path);
  if (target !== undefined) await hosts.files.symlink('test:symlink', target, path);
}

t.test('G4: a gap above the claim of the head is never read over', async (t) => {
  for (const slot of [4, 5]) {
    const hosts = await twoEpochs();
    await replaceSlot(hosts, slot);
    const { store } = hosts.start('kvm-b');
    await t.rejects(
      read(store),
      { code: 'VOLUME_DAMAGED', message: /gap/, next: /ls -l/ },
      `slot ${String(slot)}`,
    );
    await t.rejects(store.claim(claimCall('forced')), { code: 'VOLUME_DAMAGED' });
    t.equal((await hosts.files.readdir('test:readdir', LOG)).length, 5, 'nothing is written into it');
  }
});

t.test('a gap below the claim of the head is what pruning leaves', async (t) => {
  for (const slot of [1, 2, 3]) {
    const hosts = await twoEpochs();
    await replaceSlot(hosts, slot);
    const { store } = hosts.start('kvm-b');
    t.match(await read(store), { log: { epoch: 4, head: { slot: 6 } } }, `slot ${String(slot)}`);
    t.equal((await claimed(store, 'forced')).epoch, 7);
  }
});

t.test('G4: an entry above the head that cannot be read is not passed over', async (t) => {
  for (const target of [
    '/etc/shadow',
    '../../../../etc/passwd',
    '../gen/../../../../etc/passwd',
    `../gen/${formatSlot(3)}-e${formatSlot(1)}-kvm-a-0011223344556677-0011223344556677.tar.gz`,
    'claim?host=..&token=0011223344556677',
    'claim?host=kvm-a&token=short',
    'release?host=kvm-a&token=0011223344556677&epoch=99',
    'merge?host=kvm-a&token=0011223344556677',
    'x',
  ]) {
    for (const slot of [4, 6]) {
      const hosts = await twoEpochs();
      await replaceSlot(hosts, slot, target);
      const { store } = hosts.start('kvm-b');
      await t.rejects(
        read(store),
        { code: 'VOLUME_DAMAGED', message: /slot \d of the log/ },
        `${String(slot)}: ${target}`,
      );
      await t.rejects(store.claim(claimCall('forced')), { code: 'VOLUME_DAMAGED' });
    }
  }
});

t.test('an entry below the head that cannot be read is history', async (t) => {
  const hosts = await twoEpochs();
  await replaceSlot(hosts, 2, '/etc/shadow');
  const { store } = hosts.start('kvm-b');
  t.equal(await headNumber(store), 4);
  t.match((await store.history({ uuid: UUID })).at(-2), { kind: 'unknown', slot: 2 });
});

t.test('what is in log/ beside slots means nothing', async (t) => {
  const hosts = await twoEpochs();
  const { files } = hosts;
  for (const name of ['.nfs0000001', '00000007.bak', '7', '000000070', '00000000']) {
    await files.symlink(
      'test:symlink',
      'claim?host=kvm-z&token=0011223344556677&at=&reason=x',
      `${LOG}/${name}`,
    );
  }
  t.match(await read(hosts.start('kvm-b').store), { log: { top: 6, holder: { host: 'kvm-a' } } });
});

t.test('a look-up that is behind its listing is asked again', async (t) => {
  const hosts = await twoEpochs();
  const once = injectAt('log:readlink', { kind: 'fail', code: 'ENOENT', executed: false });
  t.equal(await headNumber(hosts.start('kvm-b', { inject: once }).store), 4);
  const always = injectAt('log:readlink', { kind: 'fail', code: 'ENOENT', executed: false }, 0, 99);
  await t.rejects(read(hosts.start('kvm-b', { inject: always }).store), { code: 'VOLUME_DAMAGED' });
});

t.test('G8: a volume whose name is still believed to be missing is found', async (t) => {
  const hosts = await twoEpochs();
  let believed = true;
  const wrap = (fs: FileSystem): FileSystem =>
    interceptFileSystem(fs, async ({ path, site }, proceed) => {
      if (site === 'log:readdir-volumes') believed = false;
      if (believed && path.startsWith(VOLUME)) throw systemError('ENOENT', site);
      return await proceed();
    });
  t.equal(await headNumber(hosts.start('kvm-b', { wrap }).store), 4);
});

t.test('G8: a share that does not answer is not a volume without state', async (t) => {
  for (const site of ['log:readdir', 'log:readlink', 'marker:open', 'fetch:open', 'fetch:read'] as const) {
    for (const code of ['EIO', 'ESTALE', 'EACCES']) {
      const hosts = await twoEpochs();
      const inject = injectAt(site, { kind: 'fail', code, executed: false }, 0, 99);
      await t.rejects(
        read(hosts.start('kvm-b', { inject }).store),
        { code: /^SHARE_/ },
        `${code} at ${site}`,
      );
    }
  }
});

t.test('G8: a log that is gone is damage, not a new volume', async (t) => {
  for (const whole of [true, false]) {
    const hosts = await twoEpochs();
    if (whole) await hosts.files.rename('test:rename', LOG, '/aside');
    else for (let slot = 1; slot <= 6; slot++) await replaceSlot(hosts, slot);
    const { store } = hosts.start('kvm-b');
    await t.rejects(read(store), { code: 'VOLUME_DAMAGED', message: /empty/ });
    await t.rejects(store.claim(claimCall('forced')), { code: 'VOLUME_DAMAGED' });
  }
});

t.test('of a long log only the top is read, and it says the same', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const held = await hold(store);
  for (let number = 1; number <= 40; number++) await publish(held, number);
  const fresh = await hold(store, 'own');
  await publish(fresh, 41);
  const before = hosts.trace.count;
  const { log } = await claimed(hosts.start('kvm-b').store, 'forced');
  const links = hosts.trace.events
    .slice(before - hosts.trace.count)
    .filter(({ site }) => site === 'log:readlink');
  t.ok(links.length <= 64, `${String(links.length)} links for two readings of 43 slots`);
  t.match(log, { epoch: 44, head: { slot: 43 } });
  t.equal((await store.history({ uuid: UUID })).length, 44);
});

t.test(
  'a directory that another host moved (ESTALE) is read by a fresh path, and never taken for no volume',
  async (t) => {
    const stale = (site: string, times: number): Parameters<typeof injectAt> => [
      site as `${string}:${string}`,
      { kind: 'fail', code: 'ESTALE', executed: false },
      0,
      times,
    ];
    const hosts = await twoEpochs();
    for (const times of [1, 2]) {
      const { store } = hosts.start('kvm-b', { inject: injectAt(...stale('log:readdir', times)) });
      t.equal(await headNumber(store), 4, `${times} stale listings`);
    }
    for (const site of ['log:readdir', 'log:readdir-volumes'] as const) {
      const first = injectAt(...stale('log:readdir', 99));
      const volume = injectAt(...stale('log:readdir-volume', 99));
      const above = injectAt(...stale(site, 99));
      const { store } = hosts.start('kvm-b', {
        inject: (call) => first(call) ?? volume(call) ?? above(call),
      });
      await t.rejects(read(store), { code: 'SHARE_UNAVAILABLE', message: /ESTALE/, retriable: true }, site);
    }
    await hosts.files.rename('test:rename', VOLUME, `${SHARE}/moved`);
    const { store } = hosts.start('kvm-b', { inject: injectAt(...stale('log:readdir', 1)) });
    t.equal(await read(store), undefined, 'a volume that was moved away is none');
  },
);

t.test(
  'a log that was led to the end of all slots is damage for whoever reads or claims, never INTERNAL',
  async (t) => {
    for (const top of [99_999_999, 99_999_998, 99_999_500]) {
      const hosts = new VolumeHosts();
      const { store } = hosts.start('kvm-a');
      await store.initialise({});
      await hold(store);
      const token = '0123456789abcdef';
      const claim = `claim?host=kvm-b&token=${token}&at=2026-01-01T00:00:00.000Z&reason=start`;
      await replaceSlot(hosts, 1);
      await hosts.files.symlink('test:symlink', claim, `${LOG}/${formatSlot(top)}`);
      const b = hosts.start('kvm-b').store;
      const calls: Promise<unknown>[] = [
        read(b),
        b.claim(claimCall('forced')),
        b.claim(claimCall('own')),
        b.history({ uuid: UUID }),
      ];
      for (const call of calls) {
        await t.rejects(call, { code: 'VOLUME_DAMAGED' }, String(top));
      }
      t.match(await b.summarise({ uuid: UUID }), { problem: { code: 'VOLUME_DAMAGED' } });
    }
  },
);

t.test('a log at the end of all slots is damage by name, for whatever wants to go on with it', async (t) => {
  for (const top of [SLOT_MAX, SLOT_MAX - 1, SLOT_MAX - 2, SLOT_MAX - 500]) {
    const hosts = await twoEpochs();
    const { store } = hosts.start('kvm-a');
    const held = await hold(store, 'own');
    const [any = ''] = await hosts.files.readdir('test:readdir', `${VOLUME}/gen`);
    const generation = parseGenerationName(any);
    if (!generation) throw new Error('a generation expected');
    // Somebody plants a run of its own: a claim, and a publish of it, whose archive is there.
    const epoch = top - 1;
    const file = formatGenerationName({ ...generation, slot: top, epoch });
    await hosts.files.link('test:link', `${VOLUME}/gen/${any}`, `${VOLUME}/gen/${file}`);
    const claim = 'claim?host=kvm-a&token=00112233445566aa&at=2026-01-01T00:00:00.000Z&reason=start';
    await hosts.files.symlink('test:symlink', claim, `${LOG}/${formatSlot(epoch)}`);
    await hosts.files.symlink('test:symlink', `../gen/${file}`, `${LOG}/${formatSlot(top)}`);

    const damaged = { code: 'VOLUME_DAMAGED', message: new RegExp(`slot ${String(top)}`), next: /ls -l/ };
    const name = parseSnapshotName('end');
    const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
      inspect: () => read(store),
      claim: () => store.claim(claimCall('forced')),
      fetch: () => store.fetch({ uuid: UUID, slot: 'head', fallBack: true }),
      history: () => store.history({ uuid: UUID }),
      pin: () => store.pin({ uuid: UUID, name, slot: 'head' }),
      tidy: () => store.tidy({ uuid: UUID, epoch: held.epoch, keep: 1 }),
    };
    for (const [operation, attempt] of Object.entries(attempts)) {
      await t.rejects(attempt(), damaged, `${operation}, ${String(top)}`);
    }
    t.match(await store.summarise({ uuid: UUID }), { problem: { code: 'VOLUME_DAMAGED' } });
    t.match((await store.verify({ uuid: UUID })).problems, [{ code: 'VOLUME_DAMAGED' }]);
    t.equal((await tryPublish(held, 9)).kind, 'committed', 'a holder goes on in its own slots');
  }
});
