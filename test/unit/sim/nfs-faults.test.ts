import t from 'tap';
import { errnoOf } from '../../../src/model/errors.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { CALM, HOSTILE, type FaultProfile } from '../../sim/fault-profile.js';
import { SimulatedWorld, type WorldOptions } from '../../sim/world.js';

const SITE = 'test:call';

async function put(fs: FileSystem, path: string, content: string): Promise<void> {
  const file = await fs.open('put:open', path, 'create');
  await file.write('put:write', new TextEncoder().encode(content), 0);
  await file.close('put:close');
}

async function get(fs: FileSystem, path: string): Promise<string> {
  const file = await fs.open('get:open', path, 'read');
  const data = await file.read('get:read', 1_000_000, 0);
  await file.close('get:close');
  return new TextDecoder().decode(data);
}

function makeWorld(
  seed: string | number,
  faults: Partial<FaultProfile> = {},
  options: WorldOptions = {},
): SimulatedWorld {
  return new SimulatedWorld(seed, { ...options, faults: { ...CALM, ...faults } });
}

/** A call of a host that is cut off and then killed: the request waits in its kernel. */
async function issueAndKill(
  world: SimulatedWorld,
  name: string,
  call: (fs: FileSystem) => Promise<unknown>,
): Promise<void> {
  const program = world.host(name).start();
  // Everything on the way is known, so that only the call itself waits.
  await world.outcome(program.share.readdir(SITE, '/'));
  world.nfs.partition(name);
  void call(program.share);
  await world.pass(1000);
  program.process.kill();
}

void t.test(
  'why not rename: one that waited in a dead host’s kernel replaces the newer file after healing',
  async (t) => {
    const world = makeWorld('late rename');
    const b = world.host('kvm-b').start().share;
    await world.outcome(put(b, '/tmp-a', 'older'));
    await issueAndKill(world, 'kvm-a', (fs) => fs.rename(SITE, '/tmp-a', '/head'));
    await world.outcome(put(b, '/head', 'newer'));
    world.nfs.heal('kvm-a');
    await world.pass(5000);
    t.equal(await world.outcome(get(b, '/head')), 'older');
  },
);

void t.test(
  'G3: a symlink that waited in a dead host’s kernel meets EEXIST and changes nothing',
  async (t) => {
    const world = makeWorld('late symlink');
    const b = world.host('kvm-b').start().share;
    await issueAndKill(world, 'kvm-a', (fs) => fs.symlink(SITE, 'from-a', '/slot'));
    await world.outcome(b.symlink(SITE, 'from-b', '/slot'));
    world.nfs.heal('kvm-a');
    await world.pass(5000);
    t.equal(await world.outcome(b.readlink(SITE, '/slot')), 'from-b');
    t.match(world.trace.toString(), /SYMLINK -> from-a at slot for kvm-a {2}executed, EEXIST/);
  },
);

void t.test('what a dead process had asked for may also never be sent', async (t) => {
  const world = makeWorld('never sent', { abandonedSent: 0 });
  await issueAndKill(world, 'kvm-a', (fs) => fs.symlink(SITE, 'from-a', '/slot'));
  world.nfs.heal('kvm-a');
  await world.pass(60_000);
  t.strictSame(await world.outcome(world.host('kvm-b').start().share.readdir(SITE, '/')), []);
});

void t.test('requests that waited out a partition come in any order', async (t) => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 50; seed += 1) {
    const world = makeWorld(seed);
    const { share } = world.host('kvm-a').start();
    await world.outcome(share.readdir(SITE, '/'));
    world.nfs.partition('kvm-a');
    const done = Promise.all(['1', '2', '3'].map((name) => share.mkdir(SITE, `/${name}`, 0o700)));
    await world.pass(100_000);
    t.equal(world.nfs.server.tree.root.entries.size, 0, 'a hard mount waits');
    world.nfs.heal('kvm-a');
    await world.outcome(done);
    orders.add([...world.nfs.server.tree.root.entries.keys()].join(''));
  }
  t.equal(orders.size, 6);
});

void t.test(
  'a lost reply: the second execution meets the first, EEXIST or ENOENT although it took place',
  async (t) => {
    const world = makeWorld('lost reply', { replayForgotten: 1 });
    const { share } = world.host('kvm-a').start();
    await world.outcome(put(share, '/f', 'x'));
    const calls: [string, (fs: FileSystem) => Promise<unknown>, string][] = [
      ['symlink', (fs) => fs.symlink(SITE, 'mine', '/slot'), 'EEXIST'],
      ['mkdir', (fs) => fs.mkdir(SITE, '/d', 0o700), 'EEXIST'],
      ['link', (fs) => fs.link(SITE, '/f', '/pin'), 'EEXIST'],
      ['rename', (fs) => fs.rename(SITE, '/f', '/g'), 'ENOENT'],
      ['unlink', (fs) => fs.unlink(SITE, '/g'), 'ENOENT'],
    ];
    for (const [name, call, code] of calls) {
      world.nfs.faults = { ...world.nfs.faults, replyLost: 1 };
      const outcome = call(share).catch(errnoOf);
      await world.pass(500);
      world.nfs.faults = { ...world.nfs.faults, replyLost: 0 };
      t.equal(await world.outcome(outcome), code, name);
    }
    t.equal(
      await world.outcome(share.readlink(SITE, '/slot')),
      'mine',
      'reading the slot tells that it happened',
    );
    t.strictSame([...world.nfs.server.tree.root.entries.keys()].sort(), ['d', 'pin', 'slot']);
  },
);

void t.test(
  'a lost reply is answered from memory by a server that remembers, until it restarts',
  async (t) => {
    const world = makeWorld('session', { replyLost: 0.9, retransmitMs: [10, 10] });
    const { share } = world.host('kvm-a').start();
    await world.outcome(share.symlink(SITE, 'mine', '/slot'));
    world.nfs.faults = { ...CALM, replyLost: 1 };
    const outcome = share.symlink(SITE, 'mine', '/other').catch(errnoOf);
    await world.pass(500);
    world.nfs.crashServer();
    world.nfs.faults = CALM;
    await world.pass(500);
    world.nfs.restartServer(0);
    t.equal(await world.outcome(outcome), 'EEXIST');
  },
);

void t.test('a soft mount answers EIO although the server has executed the request', async (t) => {
  const world = makeWorld('soft', { replyLost: 1 }, { softTimeoutMs: { 'kvm-a': 20_000 } });
  const outcome = world.host('kvm-a').start().share.symlink(SITE, 'mine', '/slot').catch(errnoOf);
  t.equal(await world.outcome(outcome), 'EIO');
  t.equal(world.clock.nowMs, 20_000);
  t.ok(world.nfs.server.tree.root.entries.has('slot'));
});

void t.test('a duplicate that comes late is executed again', async (t) => {
  const world = makeWorld('duplicate', { duplicated: 1, delayMs: [1000, 1000], replayForgotten: 1 });
  const { share } = world.host('kvm-a').start();
  await world.outcome(share.symlink(SITE, 'x', '/slot'));
  world.nfs.server.tree.unlink(world.nfs.server.tree.root, 'slot');
  await world.pass(2000);
  t.ok(world.nfs.server.tree.root.entries.has('slot'), 'it is back');
});

void t.test('G2: what a sync export has answered survives a crash of the server', async (t) => {
  for (let seed = 0; seed < 50; seed += 1) {
    const world = makeWorld(seed);
    const { share } = world.host('kvm-a').start();
    const content = 'x'.repeat(50_000);
    await world.outcome(put(share, '/tmp', content));
    await world.outcome(share.rename(SITE, '/tmp', '/f'));
    await world.outcome(share.symlink(SITE, 'f', '/slot'));
    world.nfs.crashServer();
    world.nfs.restartServer(0);
    t.equal(await world.outcome(get(share, '/f')), content);
    t.equal(await world.outcome(share.readlink(SITE, '/slot')), 'f');
  }
});

void t.test('an async export can lose what it has answered', async (t) => {
  const left = new Set<string>();
  for (let seed = 0; seed < 50; seed += 1) {
    const world = makeWorld(seed, {}, { export: 'async' });
    const { share } = world.host('kvm-a').start();
    await world.outcome(share.symlink(SITE, 'x', '/1'));
    await world.outcome(share.symlink(SITE, 'x', '/2'));
    world.nfs.crashServer('ordered');
    world.nfs.restartServer(0);
    left.add((await world.outcome(share.readdir(SITE, '/'))).join(''));
  }
  t.strictSame([...left].sort(), ['', '1', '12']);
});

void t.test('data that the server lost before the COMMIT is sent again', async (t) => {
  for (let seed = 0; seed < 50; seed += 1) {
    const world = makeWorld(seed, { latencyMs: [1, 100] });
    const { share } = world.host('kvm-a').start();
    const content = 'abcdefgh'.repeat(10_000);
    const done = put(share, '/f', content);
    await world.pass(world.random.between([0, 600]));
    world.nfs.crashServer();
    await world.pass(1000);
    world.nfs.restartServer(2000);
    const failure = await world.outcome(done.catch(errnoOf));
    if (failure === undefined) t.equal(await world.outcome(get(share, '/f')), content);
    // The file itself can be lost with a server that had not yet answered the OPEN that made it, never later.
    else t.equal(failure, 'ESTALE');
  }
});

void t.test('opening and renaming wait for the grace period, reading a link does not', async (t) => {
  const world = makeWorld('grace');
  const { share } = world.host('kvm-a').start();
  await world.outcome(share.symlink(SITE, 'x', '/slot'));
  world.nfs.crashServer();
  world.nfs.restartServer(90_000);
  await world.outcome(share.readlink(SITE, '/slot'), 1000);
  const start = world.clock.nowMs;
  await world.outcome(put(share, '/f', 'x'), 120_000);
  t.ok(world.clock.nowMs - start >= 89_000);
});

void t.test(
  'G5: a write fails late, at fsync or close, and a second fsync says 0 although the data is gone',
  async (t) => {
    const world = makeWorld('late failure', { writeFails: 1 });
    const { share } = world.host('kvm-a').start();
    const file = await world.outcome(share.open(SITE, '/f', 'create'));
    t.equal(await world.outcome(file.write(SITE, new Uint8Array(100), 0)), 100);
    const failure = await world.outcome(file.sync(SITE).catch(errnoOf));
    t.ok(['EIO', 'ENOSPC', 'EDQUOT'].includes(String(failure)), String(failure));
    world.nfs.faults = CALM;
    await world.outcome(file.sync(SITE));
    t.equal((await world.outcome(file.stat(SITE))).size, 0);
    await world.outcome(file.close(SITE));
    world.nfs.server.tree.capacityBytes = 10;
    const full = await world.outcome(share.open(SITE, '/g', 'create'));
    await world.outcome(full.write(SITE, new Uint8Array(100), 0));
    await t.rejects(world.outcome(full.close(SITE)), { code: 'ENOSPC' });
  },
);

void t.test('what a killed process had written is sent after healing', async (t) => {
  const world = makeWorld('dirty');
  const program = world.host('kvm-a').start();
  const file = await world.outcome(program.share.open(SITE, '/f', 'create'));
  world.nfs.partition('kvm-a');
  await world.outcome(file.write(SITE, new TextEncoder().encode('late'), 0));
  program.process.kill();
  await world.pass(10_000);
  world.nfs.heal('kvm-a');
  await world.pass(10_000);
  t.equal(await world.outcome(get(world.host('kvm-b').start().share, '/f')), 'late');
});

void t.test('power loss of a host: what its kernel had not sent is gone', async (t) => {
  const world = makeWorld('host power loss');
  const { share } = world.host('kvm-a').start();
  const file = await world.outcome(share.open(SITE, '/f', 'create'));
  world.nfs.partition('kvm-a');
  await world.outcome(file.write(SITE, new TextEncoder().encode('late'), 0));
  void file.sync(SITE);
  void share.symlink(SITE, 'x', '/slot');
  await world.pass(100);
  world.host('kvm-a').powerLoss();
  world.nfs.heal('kvm-a');
  await world.pass(100_000);
  t.equal(await world.outcome(get(world.host('kvm-a').start().share, '/f')), '');
  t.notOk(world.nfs.server.tree.root.entries.has('slot'));
});

void t.test('one seed gives one trace, another seed another', async (t) => {
  const play = async (seed: number): Promise<SimulatedWorld> => {
    const world = new SimulatedWorld(seed, { faults: HOSTILE });
    const work = async (name: string): Promise<void> => {
      const { share, local } = world.host(name).start();
      for (let round = 0; round < 5; round += 1) {
        await put(share, `/${name}-${round}`, 'x'.repeat(40_000)).catch(errnoOf);
        await put(local, `/${round}`, 'x');
        await share.symlink(SITE, name, `/slot-${round}`).catch(errnoOf);
        await share.readdir(SITE, '/');
      }
    };
    const done = Promise.all([work('kvm-a'), work('kvm-b')]);
    await world.pass(500);
    world.nfs.partition('kvm-a');
    await world.pass(5000);
    world.nfs.heal('kvm-a');
    world.nfs.crashServer();
    world.nfs.restartServer(1000);
    await world.outcome(done, 3_600_000);
    return world;
  };
  for (let seed = 0; seed < 20; seed += 1) {
    const [one, again, other] = [await play(seed), await play(seed), await play(seed + 1000)];
    t.ok(one.trace.count > 40);
    t.equal(one.trace.toString(), again.trace.toString(), `seed ${seed}`);
    t.equal(one.trace.fingerprint, again.trace.fingerprint);
    t.not(one.trace.fingerprint, other.trace.fingerprint);
  }
});
