/** The libtpms of a host, by the names of its libraries. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { libtpmsVersion } from '../../../src/host/libtpms-version.js';
import type { CallSite } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

/** A machine on which these files are all that there is. */
async function versionOn(t: Test, files: readonly string[]): Promise<string | undefined> {
  const root = await temporaryDirectory(t);
  for (const file of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), '');
  }
  const fs = new NodeFileSystem();
  const inRoot = Object.assign(Object.create(fs) as NodeFileSystem, {
    readdir: (site: CallSite, path: string) => fs.readdir(site, join(root, path)),
  });
  return (await libtpmsVersion(inRoot))?.text;
}

for (const [what, files, expected] of [
  ['none', [], undefined],
  ['only the development link', ['/usr/lib64/libtpms.so', '/usr/lib64/libtpms.so.0'], undefined],
  ['Fedora', ['/usr/lib64/libtpms.so.0', '/usr/lib64/libtpms.so.0.10.0'], '0.10.0'],
  ['Debian on x86', ['/usr/lib/x86_64-linux-gnu/libtpms.so.0.9.2'], '0.9.2'],
  ['Debian on Arm', ['/usr/lib/aarch64-linux-gnu/libtpms.so.0.9.2'], '0.9.2'],
  ['Arch', ['/usr/lib/libtpms.so.0.10.1'], '0.10.1'],
  ['built by hand', ['/usr/local/lib/libtpms.so.0.11.0'], '0.11.0'],
  [
    'two of them: the newest counts, by number',
    ['/usr/lib64/libtpms.so.0.9.6', '/usr/local/lib/libtpms.so.0.10.0'],
    '0.10.0',
  ],
  ['names that are alike', ['/usr/lib64/libtpms.so.0.9.2.bak', '/usr/lib64/xlibtpms.so.0.9.2'], undefined],
] as const) {
  t.test(what, async (t) => {
    t.equal(await versionOn(t, files), expected);
  });
}

t.test('on this machine the one that its swtpm uses is found', async (t) => {
  t.match((await libtpmsVersion(new NodeFileSystem()))?.text, /^\d+\.\d+\.\d+$/);
});
