import t from 'tap';
import { asMirrorError } from '../../../src/model/errors.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import type { PurgeCall } from '../../../src/volume/share-administration.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { OTHER_UUID, UUID } from '../../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import {
  claimCall,
  close,
  diverge,
  EXPIRY_MS,
  headNumber,
  hold,
  publish,
  read,
  tryPublish,
} from '../../fixtures/volume-steps.js';
import { injectAtCall, type Call } from '../../sim/injection.js';

const CALL: PurgeCall = { uuid: UUID, hostExpiryMs: EXPIRY_MS, shareId: undefined, unread: false };
const VOLUMES = `${SHARE}/volumes`;
const PURGED = `${SHARE}/purged`;

/** A released volume with two epochs, a snapshot and a diverged copy; and another one beside it. */
async function makeShare(seed = 1): Promise<VolumeHosts> {
  const hosts = new VolumeHosts(seed);
  const { store } = hosts.start('kvm-a');
  await store.initialise({});
  const former = await hold(store);
  for (const number of [1, 2]) await publish(former, number);
  const held = await hold(store, 'own');
  await publish(held, 3);
  await diverge(former, 9);
  await store.pin({ uuid: UUID, name: parseSnapshotName('before-update'), slot: 'head' });
  await close(held);
  await publish(await hold(store, 'free', OTHER_UUID), 7);
  return hosts;
}

async function namesIn({ files }: VolumeHosts, path: string): Promise<string[]> {
  return await files.readdir('test:readdir', path).catch(() => []);
}

t.test('a purged volume is gone, with all that is left of it, and its neighbour is not', async (t) => {
  const hosts = await makeShare();
  const { store } = hosts.start('kvm-b');
  t.strictSame(await store.purge(CALL), { kind: 'purged' });
  t.strictSame(await namesIn(hosts, VOLUMES), [OTHER_UUID]);
  t.strictSame(await namesIn(hosts, PURGED), []);
  t.equal(await read(store), undefined);
  t.equal(await headNumber(store, OTHER_UUID), 7);
  await t.rejects(store.purge(CALL), { code: 'NO_SUCH_DOMAIN' });
  await publish(await hold(store), 5);
  t.equal(await headNumber(store), 5, 'a volume can be made anew under its UUID');
});

t.test('G7: a volume that a living host holds is not purged, one of an expired host is', async (t) => {
  const hosts = await makeShare();
  const a = hosts.start('kvm-a').store;
  const b = hosts.start('kvm-b').store;
  await publish(await hold(a), 4);
  t.match(await b.purge(CALL), { kind: 'held', holder: { host: 'kvm-a' } });
  t.equal(await headNumber(b), 4);
  await a.leave({});
  t.strictSame(await b.purge(CALL), { kind: 'purged' });
});

t.test(
  'G3: a holder whose volume was purged learns it from the claim that settles its publish',
  async (t) => {
    const hosts = await makeShare();
    const a = hosts.start('kvm-a').store;
    const held = await hold(a);
    await publish(held, 4);
    await a.leave({});
    t.strictSame(await hosts.start('kvm-b').store.purge(CALL), { kind: 'purged' });
    await t.rejects(tryPublish(held, 5), { code: 'OUTCOME_UNKNOWN' });
    t.match(await a.claim(claimCall('own', 'adopt')), { kind: 'free' });
    await diverge(held, 5);
    t.strictSame(await namesIn(hosts, `${VOLUMES}/${UUID}`), ['diverged']);
  },
);

t.test('a share that is not mounted any more is not taken for one whose volume was purged', async (t) => {
  const hosts = await makeShare();
  const held = await hold(hosts.start('kvm-a').store);
  let isMounted = true;
  const { store } = hosts.start('kvm-a', {
    wrap: (fs) =>
      interceptFileSystem(fs, async ({ site, path }, proceed) => {
        if (site === 'publish:open') isMounted = false;
        if (!isMounted) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
        return await proceed();
      }),
  });
  await t.rejects(tryPublish({ ...held, store }, 4), { code: 'SHARE_UNAVAILABLE' });
  t.match(await tryPublish(held, 4), { kind: 'committed' });
});

t.test('G7: what has come into use since the look is not purged', async (t) => {
  const hosts = await makeShare();
  const { store } = hosts.start('kvm-a');
  const top = (await read(store))?.log.top ?? 0;
  await close(await hold(store));
  t.match(await store.purge({ ...CALL, onTopOf: top }), { kind: 'moved' });
  t.equal(await headNumber(store), 3);
  t.strictSame(await store.purge({ ...CALL, onTopOf: top + 2 }), { kind: 'purged' });
});

t.test('G7: a host that takes the volume by force in the last moment gets it back whole', async (t) => {
  const hosts = await makeShare();
  const b = hosts.start('kvm-b').store;
  const { store } = hosts.start('kvm-a', {
    wrap: (fs) =>
      interceptFileSystem(fs, async ({ site }, proceed) => {
        if (site === 'purge:rename') await publish(await hold(b, 'forced'), 6);
        return await proceed();
      }),
  });
  await t.rejects(store.purge(CALL), { code: 'TAKE_OVER_LOST' });
  t.equal(await headNumber(b), 6);
  t.match(await b.verify({ uuid: UUID }), { damaged: { length: 0 } });
  t.strictSame(await namesIn(hosts, PURGED), []);
});

t.test('a volume whose log is damaged is purged only unread', async (t) => {
  const hosts = await makeShare();
  const { store } = hosts.start('kvm-a');
  await hosts.files.unlink('test:unlink', `${VOLUMES}/${UUID}/log/00000005`);
  await t.rejects(store.purge(CALL), { code: 'VOLUME_DAMAGED' });
  t.strictSame(await store.purge({ ...CALL, unread: true }), { kind: 'purged' });
  t.strictSame(await namesIn(hosts, VOLUMES), [OTHER_UUID]);
});

t.test(
  'G1: a purge that ends at any of its calls leaves the volume whole or gone, and the next one ends it',
  async (t) => {
    const calls: Call[] = [];
    const clean = await makeShare();
    const inject = (call: Call): undefined => void calls.push(call);
    await clean.start('kvm-b', { inject }).store.purge(CALL);
    for (const injection of [
      { kind: 'kill', executed: false },
      { kind: 'fail', code: 'EIO', executed: false },
      { kind: 'fail', code: 'EIO', executed: true },
    ] as const) {
      for (let nth = 1; nth <= calls.length; nth++) {
        const at = `${injection.kind} ${injection.executed ? 'after' : 'before'} ${calls[nth - 1]?.site ?? ''}`;
        const hosts = await makeShare(nth);
        const { store, process } = hosts.start('kvm-b', { inject: injectAtCall(nth, injection) });
        const died = new Promise<void>((resolve) => process.onEnd(resolve));
        const failed = store.purge(CALL).catch((error: unknown) => {
          if (asMirrorError(error).code === 'INTERNAL') t.fail(`${at}: ${String(error)}`);
        });
        await Promise.race([died, failed]);
        hosts.powerLoss('ordered');
        const next = hosts.start('kvm-b').store;
        const isThere = (await read(next)) !== undefined;
        if (isThere && (await headNumber(next)) !== 3) t.fail(`${at}: the volume is neither whole nor gone`);
        await next.purge(CALL).catch((error: unknown) => {
          if (isThere || asMirrorError(error).code !== 'NO_SUCH_DOMAIN') t.fail(`${at}: ${String(error)}`);
        });
        const left = [...(await namesIn(hosts, PURGED)), ...(await namesIn(hosts, VOLUMES))];
        if (left.join() !== OTHER_UUID) t.fail(`${at}: ${left.join()} are left`);
      }
    }
    t.pass(`${String(calls.length)} calls`);
  },
);
