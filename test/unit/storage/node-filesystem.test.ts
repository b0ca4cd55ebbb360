/**
 * The real file system among people who put things in its way: what they can rename leads no call
 * elsewhere, and what they put in a file's place is not written to.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { errnoOf, MirrorError } from '../../../src/model/errors.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { treeDigest } from '../../fixtures/tree-digest.js';

const SITE = 'test:call';
const SOMEBODY = 4711;
const isRoot = process.getuid?.() === 0;

interface Place {
  readonly directory: string;
  /** Below it no link is followed. */
  readonly share: string;
  /** Nothing in it may be touched. */
  readonly canary: string;
  readonly fs: FileSystem;
}

/** A share with a volume, and beside it a tree with the same names in it. */
async function place(t: Test): Promise<Place> {
  const directory = await temporaryDirectory(t);
  const [share, canary] = [join(directory, 'share'), join(directory, 'canary')];
  for (const root of [join(share, 'volume'), canary]) {
    fs.mkdirSync(join(root, 'full'), { recursive: true });
    fs.mkdirSync(join(root, 'empty'));
    for (const name of ['file', 'other', 'full/file']) fs.writeFileSync(join(root, name), 'content');
    fs.symlinkSync('payload', join(root, 'link'));
  }
  return { directory, share, canary, fs: new NodeFileSystem().linkFree(share, 'SHARE_TAMPERED') };
}

async function write(fs: FileSystem, path: string, mode: 'create' | 'create-exclusive' | 'overwrite') {
  const file = await fs.open(SITE, path, mode);
  await file.write(SITE, new TextEncoder().encode('ours'), 0).finally(() => file.close(SITE));
}

/** Every method of the port, on names below `root`. */
const CALLS: Record<string, (fs: FileSystem, root: string) => Promise<unknown>> = {
  read: async (fs, root) => (await fs.open(SITE, `${root}/file`, 'read')).close(SITE),
  create: (fs, root) => write(fs, `${root}/file`, 'create'),
  'create-exclusive': (fs, root) => write(fs, `${root}/new`, 'create-exclusive'),
  overwrite: (fs, root) => write(fs, `${root}/file`, 'overwrite'),
  readdir: (fs, root) => fs.readdir(SITE, root),
  'readdir deeper': (fs, root) => fs.readdir(SITE, `${root}/full`),
  lstat: (fs, root) => fs.lstat(SITE, `${root}/file`),
  readlink: (fs, root) => fs.readlink(SITE, `${root}/link`),
  symlink: (fs, root) => fs.symlink(SITE, 'payload', `${root}/new`),
  'link from': (fs, root) => fs.link(SITE, `${root}/file`, `${root}/../pin`),
  'link to': (fs, root) => fs.link(SITE, `${root}/../mine`, `${root}/new`),
  'rename from': (fs, root) => fs.rename(SITE, `${root}/file`, `${root}/../stolen`),
  'rename to': (fs, root) => fs.rename(SITE, `${root}/../mine`, `${root}/file`),
  unlink: (fs, root) => fs.unlink(SITE, `${root}/file`),
  mkdir: (fs, root) => fs.mkdir(SITE, `${root}/new`, 0o700),
  rmdir: (fs, root) => fs.rmdir(SITE, `${root}/empty`),
  chmod: (fs, root) => fs.chmod(SITE, `${root}/file`, 0o777),
  chown: (fs, root) => fs.chown(SITE, `${root}/file`, 0, 0),
  syncDirectory: (fs, root) => fs.syncDirectory(SITE, root),
  statfs: (fs, root) => fs.statfs(SITE, root),
};

for (const [name, call] of Object.entries(CALLS)) {
  t.test(`${name}: no directory on the way is a link, whenever it was put there`, async (t) => {
    for (const when of ['before', 'after a call']) {
      const { share, canary, fs: files } = await place(t);
      fs.writeFileSync(join(share, 'mine'), 'mine');
      const volume = join(share, 'volume');
      if (when !== 'before') await files.lstat(SITE, join(volume, 'file'));
      fs.renameSync(volume, join(share, 'elsewhere'));
      fs.symlinkSync(canary, volume);
      const whole = treeDigest(canary);
      const error: unknown = await call(files, volume).then(
        () => undefined,
        (failure: unknown) => failure,
      );
      t.match(error, { code: 'SHARE_TAMPERED', message: new RegExp(`${volume}: it is a symbolic link`) });
      t.equal(treeDigest(canary), whole, `canary, ${when}`);
      t.strictSame(fs.readdirSync(share).sort(), ['elsewhere', 'mine', 'volume']);
    }
  });
}

t.test('G3: a directory made anew under its name is never written to through the old one', async (t) => {
  const { share, fs: files } = await place(t);
  const log = join(share, 'volume', 'full');
  await files.readdir(SITE, log);
  fs.renameSync(join(share, 'volume'), join(share, 'purged'));
  fs.mkdirSync(log, { recursive: true });
  await files.symlink(SITE, 'claim', join(log, '1'));
  t.strictSame(fs.readdirSync(log), ['1']);
  t.strictSame(fs.readdirSync(join(share, 'purged', 'full')), ['file']);
  fs.rmSync(join(share, 'volume'), { recursive: true });
  await t.rejects(files.symlink(SITE, 'claim', join(log, '2')), { code: 'ENOENT' });
});

t.test('a listing between links and directories that take turns is never of what a link names', async (t) => {
  const { share, canary, fs: files } = await place(t);
  const [volume, aside] = [join(share, 'volume'), join(share, 'aside')];
  for (const name of fs.readdirSync(canary)) fs.rmSync(join(canary, name), { recursive: true });
  fs.writeFileSync(join(canary, 'secret'), '');
  let turns = 0;
  const turning = setInterval(() => {
    turns++;
    if (fs.lstatSync(volume).isSymbolicLink()) {
      fs.unlinkSync(volume);
      fs.renameSync(aside, volume);
    } else {
      fs.renameSync(volume, aside);
      fs.symlinkSync(canary, volume);
    }
  }, 0);
  let refused = 0;
  for (let look = 0; look < 400 || turns < 40; look++) {
    await files.readdir(SITE, volume).then(
      (names) => {
        if (names.includes('secret')) t.fail('listed what a link names');
      },
      (error: unknown) => {
        refused++;
        if (!(error instanceof MirrorError) && errnoOf(error) !== 'ENOENT') t.fail(String(error));
      },
    );
  }
  clearInterval(turning);
  t.ok(refused > 0);
});

t.test('whose link it is decides whether it is followed, outside a tree without links', async (t) => {
  const { directory } = await place(t);
  const files = new NodeFileSystem();
  const way = join(directory, 'way');
  fs.mkdirSync(way);
  fs.symlinkSync('../canary', join(way, 'link'));
  fs.symlinkSync('way', join(directory, 'again'));
  const list = (path: string) => files.readdir(SITE, join(directory, path));
  t.ok((await list('way/link')).includes('file'), 'our own link');
  t.ok((await list('again/link/full')).includes('file'), 'two in a row');
  fs.symlinkSync('circle', join(directory, 'circle'));
  await t.rejects(list('circle/x'), { code: 'HOST_TAMPERED' });
  await t.test('of others', { skip: !isRoot }, async (t) => {
    const others: [string, () => void][] = [
      ["in somebody's directory", () => fs.chownSync(way, SOMEBODY, SOMEBODY)],
      ['in a directory where a group writes', () => fs.chmodSync(way, 0o775)],
      ['in a directory where all write', () => fs.chmodSync(way, 0o777)],
      [
        "somebody's in a sticky directory",
        () => {
          fs.chmodSync(way, 0o1777);
          fs.lchownSync(join(way, 'link'), SOMEBODY, SOMEBODY);
        },
      ],
      [
        "below somebody's directory",
        () => {
          fs.lchownSync(join(way, 'link'), 0, 0);
          fs.chownSync(directory, SOMEBODY, SOMEBODY);
        },
      ],
    ];
    for (const [what, make] of others) {
      fs.chownSync(way, 0, 0);
      fs.chmodSync(way, 0o755);
      make();
      const fresh = new NodeFileSystem();
      await t.rejects(fresh.readdir(SITE, join(way, 'link')), { code: 'HOST_TAMPERED' }, what);
    }
    fs.chownSync(directory, 0, 0);
    fs.chmodSync(way, 0o1777);
    t.ok((await new NodeFileSystem().readdir(SITE, join(way, 'link'))).length > 0, "root's, sticky");
  });
});

t.test("what stands in a file's place is neither waited for, nor written to, nor emptied", async (t) => {
  const { share, canary, fs: files } = await place(t);
  const volume = join(share, 'volume');
  const fifo = join(volume, 'fifo');
  execFileSync('mkfifo', [fifo]);
  fs.linkSync(join(canary, 'file'), join(volume, 'hard'));
  const whole = treeDigest(canary);
  const reader = (): number => fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  for (const mode of ['create', 'overwrite'] as const) {
    const refusal = { code: 'SHARE_TAMPERED', message: /fifo: it is a special file/ };
    await t.rejects(write(files, fifo, mode), refusal);
    const descriptor = reader();
    await t.rejects(write(files, fifo, mode), refusal, 'with somebody who reads it');
    fs.closeSync(descriptor);
    await t.rejects(write(files, join(volume, 'hard'), mode), {
      code: 'SHARE_TAMPERED',
      message: /hard: the file has 2 names/,
    });
    await t.rejects(write(files, join(volume, 'link'), mode), { code: 'ELOOP' });
    await t.rejects(write(files, join(volume, 'full'), mode), { code: 'EISDIR' });
  }
  await t.rejects(files.chmod(SITE, join(volume, 'hard'), 0o777), { code: 'SHARE_TAMPERED' });
  await t.rejects(files.chown(SITE, join(volume, 'hard'), 1, 1), { code: 'SHARE_TAMPERED' });
  await t.rejects(files.chmod(SITE, join(volume, 'link'), 0o777), { code: 'SHARE_TAMPERED' });
  t.equal(treeDigest(canary), whole);
});

t.test('chown gives away the link, and an open file wherever it is', { skip: !isRoot }, async (t) => {
  const { share, canary, fs: files } = await place(t);
  fs.symlinkSync(join(canary, 'file'), join(share, 'to-canary'));
  await files.chown(SITE, join(share, 'to-canary'), SOMEBODY, SOMEBODY);
  t.equal(fs.lstatSync(join(share, 'to-canary')).uid, SOMEBODY);
  t.equal(fs.statSync(join(canary, 'file')).uid, 0);
  const file = await files.open(SITE, join(share, 'new'), 'create-exclusive');
  fs.renameSync(join(share, 'new'), join(share, 'moved'));
  fs.symlinkSync(join(canary, 'file'), join(share, 'new'));
  await file.chown(SITE, SOMEBODY, SOMEBODY);
  await file.close(SITE);
  t.equal(fs.statSync(join(share, 'moved')).uid, SOMEBODY);
  t.equal(fs.statSync(join(canary, 'file')).uid, 0);
});

t.test('an error names the path that was asked for', async (t) => {
  const { share, fs: files } = await place(t);
  const missing = join(share, 'volume', 'missing');
  await t.rejects(files.lstat(SITE, missing), { path: missing, message: `'${missing}'` });
  await t.rejects(files.readdir(SITE, `${missing}/deeper`), { message: `'${missing}'` });
  await t.rejects(files.rename(SITE, missing, `${share}/to`), {
    message: `'${missing}' -> '${share}/to'`,
  });
  await t.rejects(files.readdir(SITE, join(share, 'volume', 'file')), { code: 'ENOTDIR' });
  const loop = await files.lstat(SITE, `${missing}/x`).catch((error: unknown) => error);
  t.notMatch((loop as Error).stack, /proc.self/);
});

t.test('descriptors are few, and none when nothing is asked', async (t) => {
  const { share, fs: files } = await place(t);
  const count = (): number => fs.readdirSync('/proc/self/fd').length;
  const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 700));
  await rest();
  const before = count();
  for (let at = 0; at < 600; at++) fs.mkdirSync(join(share, String(at)));
  for (let at = 0; at < 600; at += 50) {
    const calls = Array.from({ length: 50 }, (_, k) => files.readdir(SITE, join(share, String(at + k))));
    await Promise.all(calls);
    t.ok(count() - before <= 256 + 50 + 10, `${count() - before} open`);
  }
  await rest();
  t.equal(count(), before);
});
