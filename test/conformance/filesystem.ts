/**
 * The conformance suite of the `FileSystem` port: what the rest of the program relies on, run against every implementation. An
 * implementation that passes may be put in another's place.
 */
import type { Test } from 'tap';
import { errnoOf } from '../../src/model/errors.js';
import type { FileSystem, OpenMode } from '../../src/model/filesystem.js';

export interface FileSystemUnderTest {
  readonly fs: FileSystem;
  /** An empty directory. */
  readonly root: string;
}

export type MakeFileSystem = () => Promise<FileSystemUnderTest>;

const SITE = 'conformance:call';

export async function filesystemConformance(t: Test, makeFileSystem: MakeFileSystem): Promise<void> {
  await t.test('files', (t) => files(t, makeFileSystem));
  await t.test('links', (t) => links(t, makeFileSystem));
  await t.test('rename and unlink', (t) => renames(t, makeFileSystem));
  await t.test('directories', (t) => directories(t, makeFileSystem));
  await t.test('facts and permissions', (t) => facts(t, makeFileSystem));
}

async function files(t: Test, make: MakeFileSystem): Promise<void> {
  await t.test('what was written is read back, short at the end of the file', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abcdef');
    const file = await fs.open(SITE, `${root}/f`, 'read');
    t.equal(text(await file.read(SITE, 3, 0)), 'abc');
    t.equal(text(await file.read(SITE, 10, 4)), 'ef', 'fewer bytes at the end');
    t.equal((await file.read(SITE, 10, 6)).length, 0, 'none past the end');
    await file.close(SITE);
  });
  await t.test('a write goes to its position and leaves the rest', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abcdef');
    const file = await fs.open(SITE, `${root}/f`, 'overwrite');
    t.equal(await file.write(SITE, bytes('XY'), 2), 2);
    await file.sync(SITE);
    await file.close(SITE);
    t.equal(await get(fs, `${root}/f`), 'abXYef');
  });
  await t.test('a write past the end fills the gap with zeros', async (t) => {
    const { fs, root } = await make();
    const file = await fs.open(SITE, `${root}/f`, 'create');
    await file.write(SITE, bytes('z'), 3);
    await file.close(SITE);
    t.equal(await get(fs, `${root}/f`), '\0\0\0z');
  });
  await t.test('create empties a file that is there', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abcdef');
    await put(fs, `${root}/f`, 'x');
    t.equal(await get(fs, `${root}/f`), 'x');
  });
  await t.test('create-exclusive refuses a name that is taken', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'first', 'create-exclusive');
    await refused(t, fs.open(SITE, `${root}/f`, 'create-exclusive'), 'EEXIST');
    await fs.symlink(SITE, 'nowhere', `${root}/dangling`);
    await refused(t, fs.open(SITE, `${root}/dangling`, 'create-exclusive'), 'EEXIST');
    t.equal(await get(fs, `${root}/f`), 'first');
  });
  await t.test('overwrite makes a missing file', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'x', 'overwrite');
    t.equal(await get(fs, `${root}/f`), 'x');
  });
  await t.test('a missing file, a missing parent and a file as parent are told apart', async (t) => {
    const { fs, root } = await make();
    await refused(t, fs.open(SITE, `${root}/f`, 'read'), 'ENOENT');
    await refused(t, fs.open(SITE, `${root}/d/f`, 'create'), 'ENOENT');
    await put(fs, `${root}/f`, 'x');
    await refused(t, fs.open(SITE, `${root}/f/g`, 'read'), 'ENOTDIR');
  });
  await t.test('an open file is one file whatever happens to its name', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'old');
    const file = await fs.open(SITE, `${root}/f`, 'read');
    await put(fs, `${root}/new`, 'new');
    await fs.rename(SITE, `${root}/new`, `${root}/f`);
    t.equal(text(await file.read(SITE, 10, 0)), 'old');
    await file.close(SITE);
    t.equal(await get(fs, `${root}/f`), 'new');
  });
}

async function links(t: Test, make: MakeFileSystem): Promise<void> {
  await t.test('G3: symlink is exclusive, whatever holds the name', async (t) => {
    const { fs, root } = await make();
    await fs.symlink(SITE, 'payload?first', `${root}/slot`);
    await refused(t, fs.symlink(SITE, 'payload?second', `${root}/slot`), 'EEXIST');
    t.equal(await fs.readlink(SITE, `${root}/slot`), 'payload?first');
    await put(fs, `${root}/f`, 'x');
    await refused(t, fs.symlink(SITE, 'payload', `${root}/f`), 'EEXIST');
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await refused(t, fs.symlink(SITE, 'payload', `${root}/d`), 'EEXIST');
    await refused(t, fs.symlink(SITE, 'payload', `${root}/missing/slot`), 'ENOENT');
  });
  await t.test('readlink of no link', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'x');
    await refused(t, fs.readlink(SITE, `${root}/f`), 'EINVAL');
    await refused(t, fs.readlink(SITE, root), 'EINVAL');
    await refused(t, fs.readlink(SITE, `${root}/missing`), 'ENOENT');
  });
  await t.test('read never follows a link in the last component', async (t) => {
    const { fs, root } = await make();
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await put(fs, `${root}/d/f`, 'x');
    await fs.symlink(SITE, 'd/f', `${root}/to-file`);
    await fs.symlink(SITE, 'd', `${root}/to-directory`);
    await fs.symlink(SITE, 'missing', `${root}/dangling`);
    await refused(t, fs.open(SITE, `${root}/to-file`, 'read'), 'ELOOP');
    await refused(t, fs.open(SITE, `${root}/dangling`, 'read'), 'ELOOP');
    // In the path it is followed only where nobody else can have made it: not on a share.
    const through = await get(fs, `${root}/to-directory/f`).catch((error: unknown) => error);
    if (through !== 'x') t.match(through, { code: 'HOST_TAMPERED' });
    t.equal((await fs.lstat(SITE, `${root}/dangling`)).kind, 'symlink');
  });
  await t.test('a hard link is a second name of the same file, and exclusive', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'x');
    await fs.link(SITE, `${root}/f`, `${root}/pin`);
    await fs.unlink(SITE, `${root}/f`);
    t.equal(await get(fs, `${root}/pin`), 'x', 'the pin outlives the first name');
    await put(fs, `${root}/g`, 'y');
    await refused(t, fs.link(SITE, `${root}/g`, `${root}/pin`), 'EEXIST');
    await refused(t, fs.link(SITE, `${root}/missing`, `${root}/other`), 'ENOENT');
    t.equal(await get(fs, `${root}/pin`), 'x');
  });
}

async function renames(t: Test, make: MakeFileSystem): Promise<void> {
  await t.test('rename replaces a file and a link', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/a`, 'a');
    await put(fs, `${root}/b`, 'b');
    await fs.rename(SITE, `${root}/a`, `${root}/b`);
    t.equal(await get(fs, `${root}/b`), 'a');
    await refused(t, fs.lstat(SITE, `${root}/a`), 'ENOENT');
    await fs.symlink(SITE, 'elsewhere', `${root}/link`);
    await fs.rename(SITE, `${root}/b`, `${root}/link`);
    t.equal(await get(fs, `${root}/link`), 'a');
  });
  await t.test('rename of a missing name or into a missing directory', async (t) => {
    const { fs, root } = await make();
    await refused(t, fs.rename(SITE, `${root}/a`, `${root}/b`), 'ENOENT');
    await put(fs, `${root}/a`, 'a');
    await refused(t, fs.rename(SITE, `${root}/a`, `${root}/d/a`), 'ENOENT');
    t.equal(await get(fs, `${root}/a`), 'a');
  });
  await t.test('rename moves a whole directory, over an empty one but never over a full one', async (t) => {
    const { fs, root } = await make();
    await fs.mkdir(SITE, `${root}/a`, 0o700);
    await put(fs, `${root}/a/f`, 'x');
    await fs.mkdir(SITE, `${root}/empty`, 0o700);
    await fs.rename(SITE, `${root}/a`, `${root}/empty`);
    t.equal(await get(fs, `${root}/empty/f`), 'x');
    await fs.mkdir(SITE, `${root}/full`, 0o700);
    await put(fs, `${root}/full/g`, 'y');
    await refused(t, fs.rename(SITE, `${root}/empty`, `${root}/full`), 'ENOTEMPTY');
    await put(fs, `${root}/file`, 'z');
    await refused(t, fs.rename(SITE, `${root}/file`, `${root}/full`), 'EISDIR');
    await refused(t, fs.rename(SITE, `${root}/full`, `${root}/file`), 'ENOTDIR');
  });
  await t.test('unlink removes the name, not a directory', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'x');
    await fs.symlink(SITE, 'f', `${root}/link`);
    await fs.unlink(SITE, `${root}/link`);
    t.equal(await get(fs, `${root}/f`), 'x', 'the link went, its target stayed');
    await fs.unlink(SITE, `${root}/f`);
    await refused(t, fs.unlink(SITE, `${root}/f`), 'ENOENT');
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await refused(t, fs.unlink(SITE, `${root}/d`), 'EISDIR');
  });
}

async function directories(t: Test, make: MakeFileSystem): Promise<void> {
  await t.test('mkdir is exclusive and needs its parent', async (t) => {
    const { fs, root } = await make();
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await refused(t, fs.mkdir(SITE, `${root}/d`, 0o700), 'EEXIST');
    await refused(t, fs.mkdir(SITE, `${root}/missing/d`, 0o700), 'ENOENT');
    await put(fs, `${root}/f`, 'x');
    await refused(t, fs.mkdir(SITE, `${root}/f`, 0o700), 'EEXIST');
  });
  await t.test('readdir names what is there', async (t) => {
    const { fs, root } = await make();
    t.strictSame(await fs.readdir(SITE, root), []);
    await put(fs, `${root}/f`, 'x');
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await fs.symlink(SITE, 'nowhere', `${root}/.hidden`);
    t.strictSame((await fs.readdir(SITE, root)).sort(), ['.hidden', 'd', 'f']);
    await refused(t, fs.readdir(SITE, `${root}/missing`), 'ENOENT');
    await refused(t, fs.readdir(SITE, `${root}/f`), 'ENOTDIR');
  });
  await t.test('rmdir takes only an empty directory', async (t) => {
    const { fs, root } = await make();
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    await put(fs, `${root}/d/f`, 'x');
    await refused(t, fs.rmdir(SITE, `${root}/d`), 'ENOTEMPTY');
    await fs.unlink(SITE, `${root}/d/f`);
    await fs.rmdir(SITE, `${root}/d`);
    await refused(t, fs.rmdir(SITE, `${root}/d`), 'ENOENT');
    await fs.symlink(SITE, '.', `${root}/link`);
    await refused(t, fs.rmdir(SITE, `${root}/link`), 'ENOTDIR');
  });
  await t.test('syncDirectory of a directory that is there, and of one that is not', async (t) => {
    const { fs, root } = await make();
    await fs.syncDirectory(SITE, root);
    // On NFS there is nothing to do, and nobody is asked.
    const { kind } = await fs.statfs(SITE, root);
    if (kind !== 'nfs') await refused(t, fs.syncDirectory(SITE, `${root}/missing`), 'ENOENT');
  });
}

async function facts(t: Test, make: MakeFileSystem): Promise<void> {
  await t.test('size, kind and permission bits', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abc');
    const { kind, size, mode } = await fs.lstat(SITE, `${root}/f`);
    t.strictSame({ kind, size, mode }, { kind: 'file', size: 3, mode: 0o600 });
    await fs.chmod(SITE, `${root}/f`, 0o640);
    t.equal((await fs.lstat(SITE, `${root}/f`)).mode, 0o640);
    await fs.mkdir(SITE, `${root}/d`, 0o700);
    t.equal((await fs.lstat(SITE, `${root}/d`)).kind, 'directory');
    await refused(t, fs.lstat(SITE, `${root}/missing`), 'ENOENT');
  });
  await t.test('an open file and its name tell the same; a replacement has another inode', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abc');
    const file = await fs.open(SITE, `${root}/f`, 'read');
    const opened = await file.stat(SITE);
    t.strictSame(opened, await fs.lstat(SITE, `${root}/f`));
    await put(fs, `${root}/g`, 'abc');
    await fs.rename(SITE, `${root}/g`, `${root}/f`);
    t.not((await fs.lstat(SITE, `${root}/f`)).inode, opened.inode);
    await file.close(SITE);
  });
  await t.test('chown to the owner that it has', async (t) => {
    const { fs, root } = await make();
    await put(fs, `${root}/f`, 'abc');
    const { uid, gid } = await fs.lstat(SITE, `${root}/f`);
    await fs.chown(SITE, `${root}/f`, uid, gid);
    t.match(await fs.lstat(SITE, `${root}/f`), { uid, gid });
    await refused(t, fs.chown(SITE, `${root}/missing`, uid, gid), 'ENOENT');
  });
  await t.test('statfs tells space', async (t) => {
    const { fs, root } = await make();
    const space = await fs.statfs(SITE, root);
    t.ok(space.totalBytes > 0 && space.availableBytes <= space.totalBytes);
  });
}

async function put(fs: FileSystem, path: string, content: string, mode: OpenMode = 'create'): Promise<void> {
  const file = await fs.open(SITE, path, mode, 0o600);
  await file.write(SITE, bytes(content), 0);
  await file.close(SITE);
}

async function get(fs: FileSystem, path: string): Promise<string> {
  const file = await fs.open(SITE, path, 'read');
  const { size } = await file.stat(SITE);
  const data = await file.read(SITE, size, 0);
  await file.close(SITE);
  return text(data);
}

async function refused(t: Test, call: Promise<unknown>, code: string): Promise<void> {
  const error: unknown = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  t.equal(error === undefined ? 'no error' : errnoOf(error), code);
}

function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}
