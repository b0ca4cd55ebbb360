import { mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { unlinkStateLinks } from '../../../src/host/state-links.js';
import { makeHost, put, tree } from '../../fakes/host-rig.js';

t.test('G7: links go, what they point to stays', async (t) => {
  const host = await makeHost(t);
  const target = join(host.swtpmRoot, '../elsewhere');
  await put(target, { 'tpm2-00.permall': 'state' });
  const there = await tree(target);
  const { swtpmDirectory } = host.paths;

  await mkdir(swtpmDirectory);
  for (const role of ['tpm2', 'tpm1.2']) await symlink(target, join(swtpmDirectory, role));
  const removed = await unlinkStateLinks(host.context.fs, host.paths);
  t.strictSame(removed.map(({ path }) => path).sort(), [
    join(swtpmDirectory, 'tpm1.2'),
    join(swtpmDirectory, 'tpm2'),
  ]);
  t.ok(removed.every((link) => link.target === target));
  t.strictSame(await readdir(swtpmDirectory), []);
  t.strictSame(await tree(target), there);
});

t.test('a link in place of the whole directory goes alone', async (t) => {
  const host = await makeHost(t);
  const target = join(host.swtpmRoot, '../elsewhere');
  await put(target, { 'tpm2/tpm2-00.permall': 'state' });
  const there = await tree(target);
  await symlink(target, host.paths.swtpmDirectory);
  t.match(await unlinkStateLinks(host.context.fs, host.paths), [{ path: host.paths.swtpmDirectory, target }]);
  t.strictSame(await readdir(host.swtpmRoot), []);
  t.strictSame(await tree(target), there);
});

t.test('directories and what is missing are left alone', async (t) => {
  const host = await makeHost(t);
  t.strictSame(await unlinkStateLinks(host.context.fs, host.paths), []);
  await put(host.paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': 'state' });
  t.strictSame(await unlinkStateLinks(host.context.fs, host.paths), []);
  t.strictSame(await readdir(join(host.paths.swtpmDirectory, 'tpm2')), ['tpm2-00.permall']);
});
