import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { filesystemConformance } from './filesystem.js';

async function makeRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'node-filesystem-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return root;
}

t.test('the real file system conforms', (t) =>
  filesystemConformance(t, async () => ({ fs: new NodeFileSystem(), root: await makeRoot() })),
);

t.test('a link of ours in the path is followed on a local disk, and refused on NFS', async (t) => {
  const root = await makeRoot();
  const fs = new NodeFileSystem();
  await fs.mkdir('test:mkdir', join(root, 'd'), 0o700);
  await fs.symlink('test:symlink', 'd', join(root, 'to-directory'));
  const through = fs.readdir('test:readdir', join(root, 'to-directory'));
  if ((await fs.statfs('test:statfs', root)).kind === 'nfs') {
    await t.rejects(through, { code: 'HOST_TAMPERED' });
  } else {
    t.strictSame(await through, []);
  }
});

t.test('a FIFO in the place of a file does not hang the reader', async (t) => {
  const root = await makeRoot();
  execFileSync('mkfifo', [join(root, 'fifo')]);
  const file = await new NodeFileSystem().open('test:open', join(root, 'fifo'), 'read');
  t.equal((await file.stat('test:stat')).kind, 'other');
  await file.close('test:close');
});

t.test('no mode of opening writes through a symbolic link', async (t) => {
  const root = await makeRoot();
  const fs = new NodeFileSystem();
  await fs.symlink('test:symlink', 'target', join(root, 'link'));
  for (const mode of ['create', 'overwrite'] as const) {
    await t.rejects(fs.open('test:open', join(root, 'link'), mode), { code: 'ELOOP' });
  }
  t.strictSame(await fs.readdir('test:readdir', root), ['link']);
});
