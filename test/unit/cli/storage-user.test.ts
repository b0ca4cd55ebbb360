import { chmod, chown, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { chooseStorageUser, OWN_ID, type StorageUser } from '../../../src/cli/storage-user.js';
import { firstConfig } from '../../../src/cli/first-config.js';
import { parseConfig } from '../../../src/model/config.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { tryWriting } from '../../../src/storage/write-trial-adapter.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const isRoot = process.getuid?.() === 0;
const fs = new NodeFileSystem();
/** Nobody's on any host that runs these tests. */
const STRANGER = 60_901;
const BIN = 2;

async function shareOf(t: Test): Promise<string> {
  const directory = await temporaryDirectory(t);
  await chmod(directory, 0o755);
  const share = `${directory}/share`;
  await mkdir(share);
  return share;
}

async function made(share: string, uid: number, gid = uid): Promise<void> {
  await mkdir(`${share}/hosts`, { mode: 0o700 });
  await writeFile(`${share}/swtpm-mirror.json`, '{}');
  for (const path of ['', '/hosts', '/swtpm-mirror.json']) await chown(`${share}${path}`, uid, gid);
}

async function choose(directory: string, dryRun = false): Promise<StorageUser> {
  return await chooseStorageUser({ directory, fs, dryRun, tryWriting });
}

t.test(
  'whoever works on the share is chosen by who can, and told with the reason',
  { skip: !isRoot && 'only root can work as another user' },
  async (t) => {
    const cases: readonly {
      readonly name: string;
      readonly make: (share: string) => Promise<unknown>;
      readonly expected: { readonly uid: number; readonly gid: number; readonly why: RegExp };
    }[] = [
      {
        name: 'a new directory of root is given to nobody else',
        make: () => Promise.resolve(),
        expected: { uid: OWN_ID, gid: OWN_ID, why: /has been given/ },
      },
      {
        name: 'the top of a file system is as good as empty',
        make: (share) => mkdir(`${share}/lost+found`),
        expected: { uid: OWN_ID, gid: OWN_ID, why: /has been given/ },
      },
      {
        name: 'a directory that holds something is given to nobody',
        make: (share) => writeFile(`${share}/notes`, ''),
        expected: { uid: 0, gid: 0, why: /not empty/ },
      },
      {
        name: 'a directory that somebody was given already',
        make: (share) => chown(share, STRANGER, 60_902),
        expected: { uid: STRANGER, gid: 60_902, why: /belongs to/ },
      },
      {
        name: "a group of root's is not taken over",
        make: (share) => chown(share, STRANGER, 0),
        expected: { uid: STRANGER, gid: STRANGER, why: /belongs to/ },
      },
      {
        name: 'a share whose other hosts work as a user',
        make: (share) => made(share, STRANGER),
        expected: { uid: STRANGER, gid: STRANGER, why: /files of the share/ },
      },
      {
        name: 'a share whose other hosts work as root',
        make: (share) => made(share, 0),
        expected: { uid: 0, gid: 0, why: /other hosts work/ },
      },
      {
        name: "a system's own account",
        make: (share) => made(share, BIN),
        expected: { uid: BIN, gid: BIN, why: /files of the share/ },
      },
      {
        name: 'a share whose user cannot write there',
        make: async (share) => {
          await made(share, STRANGER);
          await chown(`${share}/hosts`, 0, 0);
        },
        expected: { uid: 0, gid: 0, why: /cannot write/ },
      },
      {
        name: 'hosts/ that leads elsewhere',
        make: async (share) => {
          await writeFile(`${share}/swtpm-mirror.json`, '{}');
          await chown(`${share}/swtpm-mirror.json`, STRANGER, STRANGER);
          await symlink('/etc', `${share}/hosts`);
        },
        expected: { uid: 0, gid: 0, why: /cannot write/ },
      },
    ];
    for (const { name, make, expected } of cases) {
      const share = await shareOf(t);
      await make(share);
      const before = await readdir(share);
      t.match(await choose(share), expected, name);
      t.strictSame(await readdir(share), before, `${name}: nothing is left behind`);
    }
  },
);

t.test(
  'nobody is chosen whose programs could reach into the work',
  { skip: !isRoot && 'only root can work as another user' },
  async (t) => {
    const passwd = [
      'root:x:0:0::/:',
      `alice:x:${STRANGER}:1::/:`,
      'libvirt-qemu:x:64055:1::/:',
      'tss:x:59:1::/:',
    ];
    const etc = await temporaryDirectory(t);
    await writeFile(`${etc}/passwd`, `${passwd.join('\n')}\n`);
    const there: FileSystem = Object.assign(Object.create(fs) as FileSystem, {
      open: (...[site, path, mode]: Parameters<FileSystem['open']>) =>
        fs.open(site, path.replace(/^\/etc\//, `${etc}/`), mode),
    });
    for (const uid of [STRANGER, 64_055, 59]) {
      const share = await shareOf(t);
      await made(share, uid);
      const chosen = await chooseStorageUser({ directory: share, fs: there, dryRun: false, tryWriting });
      t.match(chosen, { uid: 0, why: /must not reach/ }, String(uid));
    }
  },
);

t.test(
  'a dry run gives nothing away',
  { skip: !isRoot && 'only root can work as another user' },
  async (t) => {
    const share = await shareOf(t);
    t.match(await choose(share, true), { uid: OWN_ID, why: /would be given/ });
    t.equal((await stat(share)).uid, 0);
  },
);

t.test(
  'a directory that cannot be written after all is given back',
  { skip: !isRoot && 'only root can work as another user' },
  async (t) => {
    const share = await shareOf(t);
    const refusing = (): Promise<{ kind: 'refused'; why: string }> =>
      Promise.resolve({ kind: 'refused', why: 'Read-only file system' });
    const chosen = await chooseStorageUser({ directory: share, fs, dryRun: false, tryWriting: refusing });
    t.match(chosen, { uid: 0, why: /Read-only file system/ });
    t.equal((await stat(share)).uid, 0);
  },
);

t.test('what is no directory is refused', async (t) => {
  const share = await shareOf(t);
  await writeFile(`${share}/file`, '');
  await symlink(share, `${share}/link`);
  for (const name of ['none', 'file', 'link']) {
    await t.rejects(choose(`${share}/${name}`), { code: 'USAGE' }, name);
  }
});

t.test('the first configuration says it, and nothing else', async (t) => {
  const machine = { hostName: 'kvm-a', path: '/etc/config.toml' };
  const plain = parseConfig('', machine);
  const { share, storage, shareIsDefault, ...rest } = parseConfig(
    firstConfig({ share: '/mnt/a "b"', uid: 7, gid: 8 }),
    machine,
  );
  t.equal(share, '/mnt/a "b"');
  t.notOk(shareIsDefault);
  t.strictSame(storage, { ...plain.storage, uid: 7, gid: 8 });
  t.match(plain, rest);
  const asRoot = firstConfig({ share: '/mnt/x', uid: 0, gid: 0 });
  t.strictSame(parseConfig(asRoot, machine).storage, plain.storage);
  t.match(asRoot, /^#uid = 0/m);
});

t.test('a directory that cannot be read is not taken for one that is not there', async (t) => {
  const share = await shareOf(t);
  await symlink('loop', `${share}/loop`);
  for (const [path, code] of [
    [`${share}/${'x'.repeat(300)}`, 'SHARE_UNAVAILABLE'],
    [`${share}/loop/share`, 'SHARE_UNAVAILABLE'],
    [`${share}/none`, 'USAGE'],
  ] as const) {
    await t.rejects(choose(path), { code }, path.slice(0, 80));
  }
  t.strictSame(await readdir(share), ['loop'], 'nothing was changed');
});
