import t, { type Test } from 'tap';
import { errnoOf } from '../../../src/model/errors.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { injectAt } from '../../sim/injection.js';
import type { CrashModel } from '../../sim/metadata-journal.js';
import { SimulatedWorld, type RunningProgram } from '../../sim/world.js';

const SITE = 'test:call';
const SEEDS = 200;

async function put(fs: FileSystem, path: string, content: string, sync: boolean): Promise<void> {
  const file = await fs.open('put:open', path, 'create');
  await file.write('put:write', new TextEncoder().encode(content), 0);
  if (sync) await file.sync('put:fsync');
  await file.close('put:close');
}

/** Undefined when the file is missing. */
async function get(fs: FileSystem, path: string): Promise<string | undefined> {
  try {
    const file = await fs.open('get:open', path, 'read');
    const data = await file.read('get:read', 1_000_000, 0);
    await file.close('get:close');
    return new TextDecoder().decode(data);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** What each of many power losses leaves, as told by `observe`, with how often. */
async function outcomes(
  model: CrashModel,
  before: (fs: FileSystem) => Promise<void>,
  observe: (fs: FileSystem) => Promise<string>,
): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const world = new SimulatedWorld(seed);
    const host = world.host('kvm-a');
    await world.outcome(before(host.start().local));
    host.powerLoss(model);
    const left = await world.outcome(observe(host.start().local));
    seen.set(left, (seen.get(left) ?? 0) + 1);
  }
  return seen;
}

void t.test('power loss: synced data under a synced name survives, always', async (t) => {
  for (const model of ['ordered', 'independent'] as const) {
    const seen = await outcomes(
      model,
      async (fs) => {
        await put(fs, '/f', 'content', true);
        await fs.syncDirectory(SITE, '/');
      },
      async (fs) => String(await get(fs, '/f')),
    );
    t.strictSame([...seen], [['content', SEEDS]], model);
  }
});

void t.test('power loss: an unsynced name may be gone although its data was synced', async (t) => {
  const seen = await outcomes(
    'ordered',
    (fs) => put(fs, '/f', 'content', true),
    async (fs) => String(await get(fs, '/f')),
  );
  t.strictSame([...seen.keys()].sort(), ['content', 'undefined']);
});

void t.test('power loss: unsynced data under a synced name is kept, lost or torn', async (t) => {
  const seen = await outcomes(
    'ordered',
    async (fs) => {
      await put(fs, '/f', 'content', false);
      await fs.syncDirectory(SITE, '/');
    },
    async (fs) => String(await get(fs, '/f')),
  );
  t.ok(seen.has(''), 'zero length');
  t.ok(seen.has('content'), 'whole');
  t.ok(seen.has('con'), 'a prefix');
  t.ok(seen.has('con\0\0\0\0'), 'a prefix and zeros');
  t.notOk(seen.has('undefined'));
});

void t.test('power loss: renaming over a file without fsync can leave it empty', async (t) => {
  const seen = await outcomes(
    'ordered',
    async (fs) => {
      await put(fs, '/f', 'good', true);
      await fs.syncDirectory(SITE, '/');
      await put(fs, '/f.tmp', 'better', false);
      await fs.rename(SITE, '/f.tmp', '/f');
    },
    async (fs) => String(await get(fs, '/f')),
  );
  for (const left of ['good', 'better', '']) t.ok(seen.has(left), JSON.stringify(left));
});

void t.test('power loss: directory operations survive as a prefix, or each on its own', async (t) => {
  const before = async (fs: FileSystem): Promise<void> => {
    for (const name of ['1', '2', '3']) await fs.symlink(SITE, 'x', `/${name}`);
  };
  const observe = async (fs: FileSystem): Promise<string> => (await fs.readdir(SITE, '/')).sort().join('');
  t.strictSame([...(await outcomes('ordered', before, observe)).keys()].sort(), ['', '1', '12', '123']);
  t.equal((await outcomes('independent', before, observe)).size, 8);
});

void t.test(
  'power loss: independent operations keep to what syncDirectory promised for its own directory',
  async (t) => {
    const seen = await outcomes(
      'independent',
      async (fs) => {
        await fs.mkdir(SITE, '/a', 0o700);
        await fs.syncDirectory(SITE, '/');
        await fs.symlink(SITE, 'x', '/a/1');
        await fs.symlink(SITE, 'x', '/other');
        await fs.syncDirectory(SITE, '/a');
      },
      async (fs) => [...(await fs.readdir(SITE, '/a')), ...(await fs.readdir(SITE, '/'))].sort().join(' '),
    );
    t.strictSame([...seen.keys()].sort(), ['1 a', '1 a other']);
  },
);

void t.test(
  'power loss: syncing a directory commits what came before it elsewhere only under the ordered model',
  async (t) => {
    const before = async (fs: FileSystem): Promise<void> => {
      await fs.mkdir(SITE, '/a', 0o700);
      await fs.symlink(SITE, 'x', '/a/1');
      await fs.syncDirectory(SITE, '/a');
      await fs.symlink(SITE, 'x', '/later');
    };
    const observe = async (fs: FileSystem): Promise<string> => (await fs.readdir(SITE, '/')).sort().join(' ');
    t.strictSame([...(await outcomes('ordered', before, observe)).keys()].sort(), ['a', 'a later']);
    t.strictSame([...(await outcomes('independent', before, observe)).keys()].sort(), [
      '',
      'a',
      'a later',
      'later',
    ]);
  },
);

void t.test('power loss: handles from before answer EIO, space is counted anew', async (t) => {
  const world = new SimulatedWorld('handles');
  const host = world.host('kvm-a');
  const { local } = host.start();
  await world.outcome(put(local, '/gone', 'x'.repeat(1000), true));
  const file = await world.outcome(local.open(SITE, '/f', 'create'));
  host.disk.powerLoss('ordered');
  await t.rejects(world.outcome(file.write(SITE, new Uint8Array(1), 0)), { code: 'EIO' });
  const space = await world.outcome(local.statfs(SITE, '/'));
  const names = await world.outcome(local.readdir(SITE, '/'));
  t.equal(space.totalBytes - space.availableBytes, names.includes('gone') ? 1000 : 0);
});

void t.test('a killed process leaves what it wrote and never hears of it again', async (t) => {
  const world = new SimulatedWorld('kill');
  const host = world.host('kvm-a');
  const program = host.start();
  await world.outcome(put(program.local, '/f', 'content', false));
  let heard = false;
  const hear = (): void => {
    heard = true;
  };
  program.local.symlink(SITE, 'x', '/link').then(hear, hear);
  program.process.kill();
  program.local.readdir(SITE, '/').then(hear, hear);
  await world.pass(1000);
  t.notOk(heard);
  t.equal(await world.outcome(get(host.start().local, '/f')), 'content');
});

void t.test('a call under way when its process is killed takes place or not', async (t) => {
  let happened = 0;
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const world = new SimulatedWorld(seed);
    const host = world.host('kvm-a');
    const program = host.start();
    void program.local.symlink(SITE, 'x', '/link');
    program.process.kill();
    await world.pass(10);
    happened += (await world.outcome(host.start().local.readdir(SITE, '/'))).length;
  }
  t.ok(happened > SEEDS / 4 && happened < (3 * SEEDS) / 4, `${happened} of ${SEEDS}`);
});

void t.test(
  'a full disk takes what fits, then ENOSPC; removing the file frees it when it is closed',
  async (t) => {
    const world = new SimulatedWorld('full');
    const host = world.host('kvm-a');
    const { local } = host.start();
    host.disk.tree.capacityBytes = 10;
    const file = await world.outcome(local.open(SITE, '/f', 'create'));
    t.equal(await world.outcome(file.write(SITE, new Uint8Array(16), 0)), 10);
    await t.rejects(world.outcome(file.write(SITE, new Uint8Array(6), 10)), { code: 'ENOSPC' });
    await world.outcome(local.unlink(SITE, '/f'));
    t.equal((await world.outcome(local.statfs(SITE, '/'))).availableBytes, 0);
    await world.outcome(file.close(SITE));
    t.equal((await world.outcome(local.statfs(SITE, '/'))).availableBytes, 10);
  },
);

void t.test('an injection hits exactly one call, before or after it took effect', async (t) => {
  const attempt = async (
    t: Test,
    injected: Parameters<typeof injectAt>[1],
  ): Promise<[RunningProgram, SimulatedWorld]> => {
    const world = new SimulatedWorld('injected');
    const program = world.host('kvm-a').start({ injectLocal: injectAt('put:write', injected, 1) });
    await world.outcome(put(program.local, '/first', 'x', false));
    const second = put(program.local, '/second', 'x', false);
    if (injected.kind === 'fail') {
      await t.rejects(world.outcome(second), { code: injected.code, syscall: 'write(1)' });
    } else await world.pass(1000);
    return [world.host('kvm-a').start(), world];
  };
  for (const executed of [false, true]) {
    for (const kind of ['fail', 'kill'] as const) {
      const injected = kind === 'fail' ? { kind, code: 'EIO', executed } : { kind, executed };
      const [after, world] = await attempt(t, injected);
      t.equal(await world.outcome(get(after.local, '/second')), executed ? 'x' : '', `${kind}, ${executed}`);
    }
  }
});
