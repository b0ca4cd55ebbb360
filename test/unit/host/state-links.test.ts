import { mkdir, readdir, readlink, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { restoreState } from '../../../src/host/state-directory.js';
import { forgetMovedLinks, linkedDomains, movedLink, takeLinksAway } from '../../../src/host/state-links.js';
import { readStateNow } from '../../../src/host/state-reader.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { captureOf, codeOf, makeHost, put, tree } from '../../fakes/host-rig.js';

const PERMALL = readStateBlob('used.permall').data;

t.test('G7: links are taken away, what they point to stays', async (t) => {
  const host = await makeHost(t);
  const { fs } = host.context;
  const target = join(host.swtpmRoot, '../elsewhere');
  await put(target, { 'tpm2-00.permall': 'state' });
  const there = await tree(target);
  const { swtpmDirectory, uuid } = host.paths;

  await mkdir(swtpmDirectory);
  for (const role of ['tpm2', 'tpm1.2']) await symlink(target, join(swtpmDirectory, role));
  t.strictSame(await linkedDomains(fs, host.swtpmRoot), [uuid]);
  const taken = await takeLinksAway(fs, host.paths);
  t.strictSame(taken.map(({ path }) => path).sort(), [
    join(swtpmDirectory, 'tpm1.2'),
    join(swtpmDirectory, 'tpm2'),
  ]);
  t.ok(taken.every((link) => link.target === target));
  t.strictSame(await readdir(swtpmDirectory), []);
  t.strictSame(await tree(target), there);
  t.strictSame(await linkedDomains(fs, host.swtpmRoot), []);
});

t.test('a link in place of the whole directory goes alone', async (t) => {
  const host = await makeHost(t);
  const { fs } = host.context;
  const target = join(host.swtpmRoot, '../elsewhere');
  await put(target, { 'tpm2/tpm2-00.permall': 'state' });
  const there = await tree(target);
  await symlink(target, host.paths.swtpmDirectory);
  t.strictSame(await linkedDomains(fs, host.swtpmRoot), [host.paths.uuid]);
  t.match(await takeLinksAway(fs, host.paths), [{ path: host.paths.swtpmDirectory, target }]);
  t.notOk((await readdir(host.swtpmRoot)).includes(host.paths.uuid));
  t.strictSame(await tree(target), there);
});

t.test('G8: a domain whose link was taken away does not count as one without state', async (t) => {
  const host = await makeHost(t);
  const { fs } = host.context;
  const target = join(host.swtpmRoot, '../elsewhere');
  await symlink(target, host.paths.swtpmDirectory);
  await takeLinksAway(fs, host.paths);
  t.match(await movedLink(fs, host.paths), { target });
  t.equal(await codeOf(readStateNow(host.context, host.paths)), 'STATE_INVALID');

  t.comment('until it has its state again');
  await restoreState(host.context, host.paths, captureOf({ 'tpm2/tpm2-00.permall': PERMALL }));
  t.equal(await movedLink(fs, host.paths), undefined);
  t.strictSame(await readdir(host.swtpmRoot), [host.paths.uuid]);
});

t.test('a link of our own leaves no trace, and one of somebody else stays readable', async (t) => {
  const host = await makeHost(t);
  const { fs } = host.context;
  await mkdir(host.paths.swtpmDirectory);
  await symlink('/ours', join(host.paths.swtpmDirectory, 'tpm2'));
  await symlink('/theirs', join(host.paths.swtpmDirectory, 'tpm1.2'));
  t.equal((await takeLinksAway(fs, host.paths, (target) => target === '/ours')).length, 2);
  const left = (await readdir(host.swtpmRoot)).filter((name) => name !== host.paths.uuid);
  t.equal(left.length, 1);
  t.equal(await readlink(join(host.swtpmRoot, left[0] ?? '')), '/theirs');
  await forgetMovedLinks(fs, host.paths);
  t.strictSame(await readdir(host.swtpmRoot), [host.paths.uuid]);
});

t.test('directories and what is missing are left alone', async (t) => {
  const host = await makeHost(t);
  const { fs } = host.context;
  t.strictSame(await takeLinksAway(fs, host.paths), []);
  t.strictSame(await linkedDomains(fs, join(host.swtpmRoot, 'none')), []);
  await put(host.paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': 'state' });
  t.strictSame(await linkedDomains(fs, host.swtpmRoot), []);
  t.strictSame(await takeLinksAway(fs, host.paths), []);
  t.strictSame(await readdir(join(host.paths.swtpmDirectory, 'tpm2')), ['tpm2-00.permall']);
});
