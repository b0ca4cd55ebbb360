import t from 'tap';
import type { CallSite } from '../../../src/model/filesystem.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { UUID } from '../../fixtures/tpm-captures.js';
import {
  claimCall,
  claimed,
  close,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
} from '../../fixtures/volume-steps.js';
import { injectAt, type Call, type Injection, type Injector } from '../../sim/injection.js';

const LOG = `${SHARE}/volumes/${UUID}/log`;

function failing(site: CallSite, code: string, { executed = false, skip = 0, times = 1 } = {}): Injector {
  return injectAt(site, { kind: 'fail', code, executed }, skip, times);
}

function together(...injectors: Injector[]): Injector {
  return (call: Call): Injection | undefined => injectors.map((inject) => inject(call)).find(Boolean);
}

/** A volume held by kvm-a with head 1 in slot 2; its store meets what is injected from now on. */
async function heldBy(
  inject: Injector,
): Promise<{ hosts: VolumeHosts; held: Awaited<ReturnType<typeof hold>> }> {
  const hosts = new VolumeHosts();
  const first = hosts.start('kvm-a').store;
  await first.initialise({});
  const held = await hold(first);
  await publish(held, 1);
  return { hosts, held: { ...held, store: hosts.start('kvm-a', { inject }).store } };
}

t.test('G4: a commit whose reply was lost is known as our own by reading the slot', async (t) => {
  for (const code of ['EIO', 'EEXIST', 'ETIMEDOUT', 'ENOENT', 'ESTALE']) {
    const { hosts, held } = await heldBy(failing('publish:symlink', code, { executed: true }));
    t.equal(await publish(held, 2), 3, code);
    t.equal(await publish(held, 3), 4, 'and the next slot follows');
    t.equal(await headNumber(hosts.start('kvm-b').store), 3);
  }
});

t.test('an error that hides nothing is followed by the same commit in the same slot', async (t) => {
  for (const code of ['EIO', 'ESTALE', 'ENOSPC']) {
    const { hosts, held } = await heldBy(failing('publish:symlink', code));
    t.equal(await publish(held, 2), 3, code);
    t.strictSame((await hosts.files.readdir('test:readdir', LOG)).sort(), [
      '00000001',
      '00000002',
      '00000003',
    ]);
  }
});

t.test('a share that refuses for good says so, and that nothing happened', async (t) => {
  for (const [errno, code] of [
    ['ENOSPC', 'SHARE_FULL'],
    ['EDQUOT', 'SHARE_FULL'],
    ['EROFS', 'SHARE_DENIED'],
    ['EACCES', 'SHARE_DENIED'],
    ['ENOTSUP', 'SHARE_UNAVAILABLE'],
    ['EOPNOTSUPP', 'SHARE_UNAVAILABLE'],
    ['ENOSYS', 'SHARE_UNAVAILABLE'],
  ] as const) {
    const { hosts, held } = await heldBy(failing('publish:symlink', errno, { times: 99 }));
    await t.rejects(tryPublish(held, 2), { code }, errno);
    t.equal(await headNumber(hosts.start('kvm-b').store), 1);
  }
});

t.test('a commit that may still be under way is not said to have failed', async (t) => {
  const always = { times: 99 };
  for (const [name, inject] of [
    ['time-outs', failing('publish:symlink', 'EIO', always)],
    [
      'a time-out, then a full disk',
      together(failing('publish:symlink', 'EIO'), failing('publish:symlink', 'ENOSPC', always)),
    ],
    [
      'a slot that cannot be read',
      together(failing('publish:symlink', 'EIO'), failing('publish:readlink', 'EIO')),
    ],
    ['a log that cannot be synced', failing('publish:sync-log', 'EIO')],
    ['a claim that cannot be read', failing('publish:readlink-claim', 'ESTALE')],
    ['a slot that exists and is not there', failing('publish:symlink', 'EEXIST', always)],
  ] as const) {
    const { held } = await heldBy(inject);
    await t.rejects(
      tryPublish(held, 2),
      { code: 'OUTCOME_UNKNOWN', retriable: true, message: /slot 3/ },
      name,
    );
  }
});

t.test('a name that this client believes to be missing is looked up anew after a listing', async (t) => {
  let listed = false;
  const believing: Injector = ({ site }) => {
    listed ||= site === 'publish:readdir';
    return site === 'publish:readlink' && !listed
      ? { kind: 'fail', code: 'ENOENT', executed: false }
      : undefined;
  };
  const { held } = await heldBy(
    together(believing, failing('publish:symlink', 'EEXIST', { executed: true })),
  );
  t.equal(await publish(held, 2), 3);
});

t.test('G4: a claim settles a commit in doubt, whichever way it went', async (t) => {
  for (const executed of [true, false]) {
    const inject = together(
      failing('publish:symlink', 'EIO', { executed, times: 99 }),
      failing('publish:readlink', 'EIO', { times: 99 }),
    );
    const { hosts, held } = await heldBy(inject);
    await t.rejects(tryPublish(held, 2), { code: 'OUTCOME_UNKNOWN' });
    const { log, epoch } = await claimed(hosts.start('kvm-a').store, 'own');
    t.match(log, { head: { slot: executed ? 3 : 2 } });
    t.equal(epoch, executed ? 4 : 3, 'no slot is skipped');
  }
});

t.test('G3: after an error in a slot that another host took, the next slot is not tried', async (t) => {
  for (const code of ['EEXIST', 'EIO']) {
    const { hosts, held } = await heldBy(failing('publish:symlink', code));
    await claimed(hosts.start('kvm-b').store, 'forced');
    t.strictSame(await tryPublish(held, 2), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    t.strictSame(await close(held), { kind: 'fenced', slot: 3, by: 'kvm-b' });
    t.match(await read(hosts.start('kvm-b').store), { log: { top: 3, head: { slot: 2 } } });
  }
});

t.test('a slot that cannot be read is taken all the same, by nobody known', async (t) => {
  const { hosts, held } = await heldBy(() => undefined);
  await hosts.files.mkdir('test:mkdir', `${LOG}/00000003`, 0o700);
  t.strictSame(await tryPublish(held, 2), { kind: 'fenced', slot: 3, by: undefined });
});

t.test('what a claim says of a release in doubt is durable', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const hosts = new VolumeHosts(seed);
    const inject = failing('release:sync-log', 'EIO');
    const { store } = hosts.start('kvm-a', { inject });
    await store.initialise({});
    const held = await hold(store);
    await t.rejects(close(held), { code: 'OUTCOME_UNKNOWN' });
    t.equal((await store.claim(claimCall('own'))).kind, 'free');
    hosts.powerLoss('independent');
    t.equal((await read(hosts.start('kvm-b').store))?.holder, undefined);
  }
});
