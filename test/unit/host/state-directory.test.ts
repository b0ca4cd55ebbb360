import { execFileSync } from 'node:child_process';
import { chmod, chown, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import t from 'tap';
import { leftoversDirectory, stagedNvramPath, stagingDirectory } from '../../../src/host/domain-paths.js';
import {
  removeEmptyStateDirectory,
  restoreState,
  stagedDomains,
  sweepStaging,
} from '../../../src/host/state-directory.js';
import { readStateNow } from '../../../src/host/state-reader.js';
import { sha256 } from '../../../src/model/hash.js';
import { crashBeforeEach } from '../../fakes/crashing-filesystem.js';
import { failEach } from '../../fakes/faulting-filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { blob, captureOf, codeOf, makeHost, put, tree, type HostRig } from '../../fakes/host-rig.js';

const OLD = { 'tpm2/tpm2-00.permall': blob('used.permall') };
/** Giving files away takes root. */
const AS_ROOT = { skip: process.getuid?.() !== 0 };
const OLD_NVRAM = 'old variables';
const NEW = captureOf({
  'tpm2/tpm2-00.permall': blob('used-restarted.permall'),
  'nvram/nvram.fd': 'new variables',
});

async function putOld(host: HostRig): Promise<void> {
  await put(host.paths.swtpmDirectory, {
    ...OLD,
    'tpm2/tpm2-00.savestate': blob('encrypted-128.permall'),
    'tpm2/.lock': '',
  });
  await writeFile(host.nvramPath, OLD_NVRAM);
}

async function setAsideEntries(host: HostRig): Promise<Record<string, string>[]> {
  const home = join(host.context.stateDirectory, 'set-aside', host.paths.uuid);
  const names = await readdir(home).catch(() => []);
  return Promise.all(names.filter((name) => !name.startsWith('.')).map((name) => tree(join(home, name))));
}

t.test('G4: a restore where nothing stands makes what swtpm can use', AS_ROOT, async (t) => {
  const host = await makeHost(t);
  const umask = process.umask(0o077);
  t.teardown(() => process.umask(umask));
  const outcome = await restoreState(host.context, host.paths, NEW, {
    owners: { tpm: { uid: 107, gid: 108 }, nvram: { uid: 107, gid: 108 } },
  });
  t.strictSame(outcome, { setAside: undefined });
  t.strictSame(await tree(host.swtpmRoot), {
    [`${host.paths.uuid}/tpm2/tpm2-00.permall`]: sha256(blob('used-restarted.permall')),
  });
  t.equal(await readFile(host.nvramPath, 'utf8'), 'new variables');
  const facts = async (path: string): Promise<unknown[]> => {
    const { mode, uid, gid } = await lstat(join(host.paths.swtpmDirectory, path));
    return [mode & 0o7777, uid, gid];
  };
  t.strictSame(await facts('.'), [0o711, 0, 0]);
  t.strictSame(await facts('tpm2'), [0o700, 107, 108]);
  t.strictSame(await facts('tpm2/tpm2-00.permall'), [0o600, 107, 108]);
  t.strictSame((await readStateNow(host.context, host.paths)).digest, NEW.digest);
});

t.test('G5: a restore over other state sets that aside and takes its owner', AS_ROOT, async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  await chown(join(host.paths.swtpmDirectory, 'tpm2'), 107, 108);
  await chown(host.nvramPath, 64055, 64055);
  await chmod(host.paths.swtpmDirectory, 0o700);
  const outcome = await restoreState(host.context, host.paths, NEW, {
    owners: { tpm: { uid: 1, gid: 1 }, nvram: { uid: 1, gid: 1 } },
  });
  t.strictSame(Object.keys(await tree(host.paths.swtpmDirectory)), ['tpm2/tpm2-00.permall']);
  t.equal((await lstat(join(host.paths.swtpmDirectory, 'tpm2/tpm2-00.permall'))).uid, 107);
  t.equal((await lstat(host.nvramPath)).uid, 64055);
  t.equal((await lstat(host.paths.swtpmDirectory)).mode & 0o777, 0o711, 'swtpm can pass through again');
  const kept = await tree(outcome.setAside ?? '');
  t.match(kept, {
    'tpm2/tpm2-00.permall': sha256(blob('used.permall')),
    'tpm2/tpm2-00.savestate': sha256(blob('encrypted-128.permall')),
    'nvram/nvram.fd': sha256(OLD_NVRAM),
    'why.txt': /./,
  });
  t.notOk('tpm2/.lock' in kept);
  t.match(await readFile(join(outcome.setAside ?? '', 'why.txt'), 'utf8'), NEW.digest);
  t.strictSame(await readdir(host.swtpmRoot), [host.paths.uuid], 'no staging is left');
});

t.test('G2: everything is synced before the step that relies on it', async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  const sites: string[] = [];
  const fs = interceptFileSystem(host.context.fs, (call, proceed) => {
    if (sites.at(-1) !== call.site) sites.push(call.site);
    return proceed();
  });
  await restoreState(host.withFileSystem(fs), host.paths, NEW);
  const steps = [
    'set-aside:rename',
    'set-aside:sync-home',
    'restore:write',
    'restore:fsync',
    'restore:sync-role',
    'restore:sync-staging',
    'restore:write',
    'restore:fsync',
    'restore:sync-root',
    'restore:move-out',
    'restore:sync-moved-out',
    'restore:rename-nvram',
    'restore:sync-nvram',
    'restore:move-in',
    'restore:sync-moved-in',
  ];
  t.strictSame(
    sites.filter((site) => steps.includes(site)),
    steps,
  );
  t.ok(
    sites.lastIndexOf('set-aside:fsync') < sites.indexOf('set-aside:rename'),
    'set-aside files are synced',
  );
});

t.test(
  'a host that never had a TPM gets the directory of all TPMs, passable as libvirt makes it',
  async (t) => {
    const host = await makeHost(t);
    await rm(host.swtpmRoot, { recursive: true });
    await restoreState(host.context, host.paths, NEW);
    for (const path of [host.swtpmRoot, host.paths.swtpmDirectory]) {
      t.equal((await lstat(path)).mode & 0o777, 0o711);
    }
    t.equal((await readStateNow(host.context, host.paths)).digest, NEW.digest);
  },
);

t.test('local state that the capture holds already is not set aside', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': blob('used-restarted.permall') });
  t.strictSame(await restoreState(host.context, host.paths, NEW), { setAside: undefined });
});

t.test('state of another TPM version is replaced as a whole', async (t) => {
  const host = await makeHost(t);
  await put(host.paths.swtpmDirectory, { 'tpm1.2/tpm-00.permall': blob('tpm12.permall') });
  await restoreState(host.context, host.paths, NEW);
  t.strictSame(Object.keys(await tree(host.paths.swtpmDirectory)), ['tpm2/tpm2-00.permall']);
});

t.test('NVRAM stays as it is when the capture has none, or the domain has no place for it', async (t) => {
  const host = await makeHost(t);
  await writeFile(host.nvramPath, OLD_NVRAM);
  await restoreState(host.context, host.paths, captureOf({ 'tpm2/tpm2-00.permall': blob('used.permall') }));
  t.equal(await readFile(host.nvramPath, 'utf8'), OLD_NVRAM);
  await restoreState(host.context, { ...host.paths, nvramPath: undefined }, NEW);
  t.equal(await readFile(host.nvramPath, 'utf8'), OLD_NVRAM);
});

t.test('G6: an invalid capture is refused before anything is touched', async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  const before = await tree(host.swtpmRoot);
  const files = NEW.files.map((file) => ({ ...file, data: file.data.subarray(0, -1) }));
  t.equal(await codeOf(restoreState(host.context, host.paths, { ...NEW, files })), 'STATE_INVALID');
  t.strictSame(await tree(host.swtpmRoot), before);
});

t.test('G7: a restore never goes through a link', async (t) => {
  const host = await makeHost(t);
  const target = join(host.context.stateDirectory, 'target');
  await put(target, OLD);
  await symlink(target, host.paths.swtpmDirectory);
  t.equal(await codeOf(restoreState(host.context, host.paths, NEW)), 'STATE_INVALID', '<uuid> is a link');
  await rm(host.paths.swtpmDirectory);
  await mkdir(host.paths.swtpmDirectory);
  await symlink(join(target, 'tpm2'), join(host.paths.swtpmDirectory, 'tpm2'));
  t.equal(await codeOf(restoreState(host.context, host.paths, NEW)), 'STATE_INVALID', 'tpm2 is a link');
  await rm(join(host.paths.swtpmDirectory, 'tpm2'));
  await symlink(join(target, 'tpm2'), stagedNvramPath(host.nvramPath));
  await restoreState(host.context, host.paths, NEW);
  t.strictSame(Object.keys(await tree(target)), ['tpm2/tpm2-00.permall'], 'the target is untouched');
  t.equal(
    await readFile(host.nvramPath, 'utf8'),
    'new variables',
    'a link planted as temporary NVRAM is replaced',
  );
});

/** What a restore moved beside the domain's directory, by the names that it had. */
async function leftovers(host: HostRig): Promise<Record<string, string>> {
  const found = await tree(leftoversDirectory(host.paths)).catch(() => ({}));
  return Object.fromEntries(
    Object.entries(found).map(([path, content]) => [path.replace(/-[0-9a-f]{8}-/, '/'), content]),
  );
}

const ODDITIES: readonly [string, (path: string) => Promise<unknown>, 'kept' | 'gone'][] = [
  ['an empty directory', (path) => mkdir(path), 'kept'],
  ['a deep directory', (path) => put(path, { 'a/b/c/d': 'x', 'tpm2-00.permall': 'x' }), 'kept'],
  ['a FIFO', async (path) => execFileSync('mkfifo', [path]), 'gone'],
  ['a socket', listenOnce, 'gone'],
  ['a device', async (path) => execFileSync('mknod', [path, 'c', '1', '3']), 'gone'],
  ['a huge file', async (path) => execFileSync('truncate', ['-s', '17M', path]), 'kept'],
];

/** A socket that nobody listens on any more. */
async function listenOnce(path: string): Promise<void> {
  const short = relative(process.cwd(), path);
  execFileSync('python3', [
    '-c',
    'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
    short,
  ]);
}

for (const [what, place, outcome] of ODDITIES) {
  const names = ['tpm2/odd', 'tpm2/swtpm-sock', 'tpm2/.lock', 'tpm2/TMP2-00.permall', 'tpm1.2/odd'];
  t.test(`G5: ${what} beside the state refuses no restore, and is ${outcome}`, AS_ROOT, async (t) => {
    for (const name of names) {
      const host = await makeHost(t);
      await putOld(host);
      const path = join(host.paths.swtpmDirectory, name);
      await mkdir(dirname(path), { recursive: true });
      await rm(path, { force: true });
      await place(path);
      await restoreState(host.context, host.paths, NEW);
      t.equal((await readStateNow(host.context, host.paths)).digest, NEW.digest, name);
      t.equal(await isOldKept(host), true, `${name}: the state is set aside`);
      const moved = await readdir(leftoversDirectory(host.paths)).catch(() => []);
      // Of what swtpm makes again by itself nothing is kept but a directory.
      const isKept = outcome === 'kept' && (what.endsWith('directory') || !/lock|TMP2/.test(name));
      t.equal(moved.length, isKept ? 1 : 0, `${name}: ${moved.join()}`);
      await t.rejects(lstat(stagingDirectory(host.paths)), { code: 'ENOENT' });
    }
  });
}

t.test('what was moved aside is as it was, however deep it is', async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  const content = { 'a/b/c/d': 'of somebody', 'a/link': 'x' };
  await put(join(host.paths.swtpmDirectory, 'tpm2/mine'), content);
  const { setAside } = await restoreState(host.context, host.paths, NEW);
  const found = await leftovers(host);
  for (const [path, text] of Object.entries(content)) t.equal(found[`tpm2/mine/${path}`], sha256(text));
  const why = await readFile(join(setAside ?? '', 'why.txt'), 'utf8');
  t.match(why, /tpm2\/mine is a directory: moved to .*swtpm-mirror-leftovers/);
});

t.test('a link beside the state is kept as a link', async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  await symlink('/etc/passwd', join(host.paths.swtpmDirectory, 'tpm2', 'odd'));
  const { setAside } = await restoreState(host.context, host.paths, NEW);
  t.ok((await lstat(join(setAside ?? '', 'tpm2', 'odd'))).isSymbolicLink());
});

t.test('G5: a directory or a file of any size in the place of a state file is moved, not lost', async (t) => {
  for (const place of [
    (path: string) => put(path, { inside: 'of somebody' }),
    async (path: string) => execFileSync('truncate', ['-s', '17M', path]),
  ]) {
    const host = await makeHost(t);
    await putOld(host);
    const permall = join(host.paths.swtpmDirectory, 'tpm2', 'tpm2-00.permall');
    await rm(permall);
    await place(permall);
    await restoreState(host.context, host.paths, NEW);
    t.equal((await readStateNow(host.context, host.paths)).digest, NEW.digest);
    t.ok(Object.keys(await leftovers(host)).some((name) => name.startsWith('tpm2/tpm2-00.permall')));
  }
});

t.test('set-aside copies: three per domain, the same content once', async (t) => {
  const host = await makeHost(t);
  for (let round = 0; round < 6; round++) {
    await put(host.paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': `invalid ${round}` });
    await restoreState(host.context, host.paths, NEW);
    await put(host.paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': `invalid ${round}` });
    await restoreState(host.context, host.paths, NEW);
  }
  const kept = (await setAsideEntries(host)).map((entry) => entry['tpm2/tpm2-00.permall']);
  t.equal(kept.length, 3);
  t.ok(kept.includes(sha256('invalid 5')), 'the latest is among them');
});

/** The state that stands: `old`, `new`, `none`, or a description of what it should never be. */
async function standing(host: HostRig): Promise<string> {
  const directory = await tree(host.paths.swtpmDirectory).catch(() => ({}));
  const files = Object.entries(directory).filter(([name]) => !name.endsWith('.lock'));
  if (files.length === 0 || (files.length === 1 && files[0]?.[0] === '/')) return 'none';
  const permall = new Map(files).get('tpm2/tpm2-00.permall');
  const nvram = sha256(await readFile(host.nvramPath));
  if (files.length === 2 && permall === sha256(blob('used.permall')) && nvram === sha256(OLD_NVRAM)) {
    return 'old';
  }
  const isNew = files.length === 1 && permall === sha256(blob('used-restarted.permall'));
  if (isNew && nvram === sha256('new variables')) return 'new';
  return JSON.stringify({ files, nvram });
}

async function isOldKept(host: HostRig): Promise<boolean> {
  return (await setAsideEntries(host)).some(
    (entry) =>
      entry['tpm2/tpm2-00.permall'] === sha256(blob('used.permall')) &&
      entry['nvram/nvram.fd'] === sha256(OLD_NVRAM),
  );
}

t.test(
  'G1 G5 G8: a crash before any operation leaves old, new or no TPM directory, and loses nothing',
  async (t) => {
    const seen = new Set<string>();
    for (const hadOld of [true, false]) {
      let host = await makeHost(t);
      const crashes = await crashBeforeEach(
        async () => {
          host = await makeHost(t);
          if (hadOld) await putOld(host);
          return host.context.fs;
        },
        (fs) => restoreState(host.withFileSystem(fs), host.paths, NEW),
        async ({ site }) => {
          const state = await standing(host);
          seen.add(state);
          const allowed = hadOld ? ['old', 'none', 'new'] : ['none', 'new'];
          if (!allowed.includes(state)) t.fail(`crash before ${site}: ${state}`);
          if (state !== 'old' && hadOld && !(await isOldKept(host))) {
            t.fail(`crash before ${site}: old state lost`);
          }
          const names = Object.keys(await tree(host.swtpmRoot));
          const empty = names.filter((name) => /^[0-9a-f-]{36}\/tpm2\/$/.test(name));
          if (empty.length > 0) t.fail(`crash before ${site}: an empty TPM directory`);
          await restoreState(host.context, host.paths, NEW);
          if ((await standing(host)) !== 'new') {
            t.fail(`crash before ${site}: the next restore did not complete`);
          }
          t.strictSame(
            await readdir(host.swtpmRoot),
            [host.paths.uuid],
            `swept after a crash before ${site}`,
          );
          t.strictSame(await readdir(join(host.nvramPath, '..')), ['vm_VARS.fd']);
        },
      );
      t.ok(crashes > 20, `${crashes} crash points`);
    }
    t.strictSame([...seen].sort(), ['new', 'none', 'old'], 'the test met every outcome');
  },
);

for (const errnos of [['ENOSPC'], ['EIO', 'EDQUOT', 'EROFS', 'EACCES']]) {
  void t.test(
    `G1 G5: any operation that fails with ${errnos.join(' or ')} is reported, and loses nothing`,
    async (t) => {
      let host = await makeHost(t);
      await failEach(
        async () => {
          host = await makeHost(t);
          await putOld(host);
          return host.context.fs;
        },
        (fs) => restoreState(host.withFileSystem(fs), host.paths, NEW),
        errnos,
        async ({ site, errno }, outcome) => {
          const state = await standing(host);
          t.match(outcome, { code: 'HOST_IO', next: /./ }, `${site} is reported`);
          if (!['old', 'none', 'new'].includes(state)) t.fail(`${errno} at ${site}: ${state}`);
          if (state !== 'old' && !(await isOldKept(host))) t.fail(`${errno} at ${site}: old state lost`);
          await restoreState(host.context, host.paths, NEW);
          t.equal(await standing(host), 'new');
        },
      );
    },
  );
}

t.test('what an interrupted restore left is swept for its domain alone', async (t) => {
  const host = await makeHost(t);
  const other = join(host.swtpmRoot, '.11111111-2222-4333-8444-555555555555.swtpm-mirror');
  await put(stagingDirectory(host.paths), { 'tpm2/tpm2-00.permall': 'x', 'old-tpm2/tpm2-00.permall': 'y' });
  await put(other, { 'tpm2/tpm2-00.permall': 'x' });
  await writeFile(stagedNvramPath(host.nvramPath), 'x');
  t.same((await stagedDomains(host.context, host.swtpmRoot)).sort(), [
    '11111111-2222-4333-8444-555555555555',
    host.paths.uuid,
  ]);
  await sweepStaging(host.context, host.paths);
  await sweepStaging(host.context, host.paths);
  t.strictSame(await readdir(host.swtpmRoot), ['.11111111-2222-4333-8444-555555555555.swtpm-mirror']);
  t.strictSame(await readdir(join(host.nvramPath, '..')), []);
});

t.test('G7: only empty directories are removed', async (t) => {
  const host = await makeHost(t);
  const { swtpmDirectory } = host.paths;
  await removeEmptyStateDirectory(host.context, host.paths);
  await mkdir(join(swtpmDirectory, 'tpm2'), { recursive: true });
  await removeEmptyStateDirectory(host.context, host.paths);
  t.strictSame(await readdir(host.swtpmRoot), []);
  await put(swtpmDirectory, { 'tpm2/.lock': '' });
  await mkdir(join(swtpmDirectory, 'tpm1.2'));
  await removeEmptyStateDirectory(host.context, host.paths);
  t.strictSame(Object.keys(await tree(swtpmDirectory)), ['tpm2/.lock']);
  await rm(swtpmDirectory, { recursive: true });
  await mkdir(join(host.context.stateDirectory, 'empty'));
  await symlink(join(host.context.stateDirectory, 'empty'), swtpmDirectory);
  await removeEmptyStateDirectory(host.context, host.paths);
  t.ok(await lstat(swtpmDirectory), 'a link stays');
});

t.test('a link in place of the staging directory goes, and nothing behind it', async (t) => {
  const host = await makeHost(t);
  await putOld(host);
  const elsewhere = join(host.context.stateDirectory, 'elsewhere');
  await put(elsewhere, { file: 'of somebody', 'directory/file': 'of somebody' });
  const before = await tree(elsewhere);
  await symlink(elsewhere, stagingDirectory(host.paths));
  await restoreState(host.context, host.paths, NEW);
  t.strictSame(await tree(elsewhere), before);
  t.equal((await readStateNow(host.context, host.paths)).digest, NEW.digest);
});

t.test('G5: the state is set aside however much lies beside it', async (t) => {
  const many = Object.fromEntries([...Array(70).keys()].map((at) => [`tpm2/file-${at}`, String(at)]));
  const large = Object.fromEntries(
    [...Array(6).keys()].map((at) => [`tpm2/large-${at}`, Buffer.alloc(12e6, at)]),
  );
  for (const [what, contents] of [
    ['very many files', many],
    ['very much data', large],
  ] as const) {
    const host = await makeHost(t);
    await put(host.paths.swtpmDirectory, { ...OLD, ...contents });
    const { setAside = '' } = await restoreState(host.context, host.paths, NEW);
    t.equal((await readStateNow(host.context, host.paths)).digest, NEW.digest, what);
    const kept = { ...(await leftovers(host)), ...(await tree(setAside)) };
    for (const [name, content] of Object.entries({ ...OLD, ...contents })) {
      t.equal(kept[name], sha256(content as string | Buffer), `${what}: ${name}`);
    }
  }
});
