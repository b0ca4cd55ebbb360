import t from 'tap';
import { errnoOf } from '../../../src/model/errors.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { CALM } from '../../sim/fault-profile.js';
import { SimulatedWorld } from '../../sim/world.js';

const SITE = 'test:call';

/** Two hosts whose caches are believed for exactly 30 s. */
function twoHosts(seed: string): { world: SimulatedWorld; a: FileSystem; b: FileSystem } {
  const faults = { ...CALM, namesMs: [30_000, 30_000], attributesMs: [30_000, 30_000] } as const;
  const world = new SimulatedWorld(seed, { faults });
  return { world, a: world.host('kvm-a').start().share, b: world.host('kvm-b').start().share };
}

async function put(fs: FileSystem, path: string, content: string): Promise<void> {
  const file = await fs.open(SITE, path, 'create');
  await file.write(SITE, new TextEncoder().encode(content), 0);
  await file.close(SITE);
}

void t.test(
  'a name looked up while it was missing stays missing for half a minute, to every way of looking it up',
  async (t) => {
    const { world, a, b } = twoHosts('negative');
    const looks: ((fs: FileSystem) => Promise<unknown>)[] = [
      (fs) => fs.lstat(SITE, '/slot'),
      (fs) => fs.readlink(SITE, '/slot'),
      (fs) => fs.open(SITE, '/slot', 'read'),
    ];
    t.equal(await world.outcome(b.readlink(SITE, '/slot').catch(errnoOf)), 'ENOENT');
    await world.outcome(a.symlink(SITE, 'x', '/slot'));
    for (const look of looks) t.equal(await world.outcome(look(b).catch(errnoOf)), 'ENOENT');
    await world.pass(31_000);
    t.equal(await world.outcome(b.readlink(SITE, '/slot')), 'x');
  },
);

void t.test('a listing is fresh, and makes the next look-up fresh', async (t) => {
  const { world, a, b } = twoHosts('listing');
  t.equal(await world.outcome(b.lstat(SITE, '/slot').catch(errnoOf)), 'ENOENT');
  await world.outcome(a.symlink(SITE, 'x', '/slot'));
  t.strictSame(await world.outcome(b.readdir(SITE, '/')), ['slot']);
  t.equal(await world.outcome(b.readlink(SITE, '/slot')), 'x');
});

void t.test(
  'G3: a cached absence does not make symlink succeed, and its EEXIST makes the next look-up fresh',
  async (t) => {
    const { world, a, b } = twoHosts('exclusive');
    t.equal(await world.outcome(b.readlink(SITE, '/slot').catch(errnoOf)), 'ENOENT');
    await world.outcome(a.symlink(SITE, 'from-a', '/slot'));
    t.equal(await world.outcome(b.symlink(SITE, 'from-b', '/slot').catch(errnoOf)), 'EEXIST');
    t.equal(await world.outcome(b.readlink(SITE, '/slot')), 'from-a');
  },
);

void t.test('lstat can be old, open and fstat are fresh', async (t) => {
  const { world, a, b } = twoHosts('attributes');
  await world.outcome(put(a, '/beat', '1'));
  t.equal((await world.outcome(b.lstat(SITE, '/beat'))).size, 1);
  await world.outcome(put(a, '/beat', '22'));
  t.equal((await world.outcome(b.lstat(SITE, '/beat'))).size, 1, 'as it was');
  const file = await world.outcome(b.open(SITE, '/beat', 'read'));
  t.equal((await world.outcome(file.stat(SITE))).size, 2);
});

void t.test('a heartbeat through a held-open descriptor has the time of the server', async (t) => {
  const { world, a } = twoHosts('heartbeat');
  const file = await world.outcome(a.open(SITE, '/beat', 'overwrite'));
  const times: bigint[] = [];
  for (let beat = 0; beat < 3; beat += 1) {
    await world.outcome(file.write(SITE, new Uint8Array(64), 0));
    await world.outcome(file.sync(SITE));
    times.push((await world.outcome(file.stat(SITE))).mtimeNs);
    await world.pass(5000);
  }
  const [first = 0n, second = 0n, third = 0n] = times;
  t.ok(second - first >= 5_000_000_000n && third - second >= 5_000_000_000n);
});

void t.test(
  'a file that another host replaced answers ESTALE to the next read, and opens anew by its name',
  async (t) => {
    const { world, a, b } = twoHosts('stale');
    await world.outcome(put(a, '/f', 'old'));
    const file = await world.outcome(b.open(SITE, '/f', 'read'));
    await world.outcome(put(a, '/g', 'new'));
    await world.outcome(a.rename(SITE, '/g', '/f'));
    t.equal(await world.outcome(file.read(SITE, 10, 0).catch(errnoOf)), 'ESTALE');
    const again = await world.outcome(b.open(SITE, '/f', 'read'));
    t.equal(new TextDecoder().decode(await world.outcome(again.read(SITE, 10, 0))), 'new');
  },
);

void t.test(
  'a file removed by the host that has it open leaves a .nfs name until it is closed',
  async (t) => {
    const { world, a } = twoHosts('silly');
    await world.outcome(put(a, '/f', 'x'));
    const file = await world.outcome(a.open(SITE, '/f', 'read'));
    await world.outcome(a.unlink(SITE, '/f'));
    t.match(await world.outcome(a.readdir(SITE, '/')), [/^\.nfs/]);
    t.equal((await world.outcome(file.read(SITE, 10, 0))).length, 1);
    await world.outcome(file.close(SITE));
    await world.pass(1000);
    t.strictSame(await world.outcome(a.readdir(SITE, '/')), []);
  },
);

void t.test('a directory that another host removed and made anew is found again', async (t) => {
  const { world, a, b } = twoHosts('directory');
  await world.outcome(a.mkdir(SITE, '/d', 0o700));
  t.strictSame(await world.outcome(b.readdir(SITE, '/d')), []);
  await world.outcome(a.rmdir(SITE, '/d'));
  await world.outcome(a.mkdir(SITE, '/d', 0o700));
  await world.outcome(b.symlink(SITE, 'x', '/d/slot'));
  t.strictSame(await world.outcome(a.readdir(SITE, '/d')), ['slot']);
});

void t.test(
  'a late removal follows a directory that was moved away, and spares the one made in its place',
  async (t) => {
    const { world, a, b } = twoHosts('purge');
    await world.outcome(a.mkdir(SITE, '/volume', 0o700));
    await world.outcome(put(a, '/volume/f', 'old'));
    const doomed = world.host('kvm-c').start();
    await world.outcome(doomed.share.readdir(SITE, '/volume'));
    world.nfs.partition('kvm-c');
    void doomed.share.unlink(SITE, '/volume/f');
    await world.pass(100);
    doomed.process.kill();
    await world.outcome(b.rename(SITE, '/volume', '/purged'));
    await world.outcome(b.mkdir(SITE, '/volume', 0o700));
    await world.outcome(put(b, '/volume/f', 'new'));
    world.nfs.heal('kvm-c');
    await world.pass(10_000);
    t.strictSame(await world.outcome(b.readdir(SITE, '/volume')), ['f']);
    t.strictSame(await world.outcome(b.readdir(SITE, '/purged')), []);
  },
);
