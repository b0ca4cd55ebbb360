/**
 * Links under directories of other users on this host: on Debian the user of QEMU owns
 * `/var/lib/libvirt/qemu`. Root writes, reads, gives away and removes nothing through what he puts there.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { movedLinkPath, stagedNvramPath, stagingDirectory } from '../../../src/host/domain-paths.js';
import { setAside } from '../../../src/host/set-aside.js';
import { restoreState, sweepStaging } from '../../../src/host/state-directory.js';
import { readStateNow } from '../../../src/host/state-reader.js';
import { takeLinksAway } from '../../../src/host/state-links.js';
import { linkFree } from '../../../src/model/filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { blob, captureOf, makeHost, put, tree, type HostRig } from '../../fakes/host-rig.js';
import { writeStateTree } from '../../../src/host/state-tree.js';
import { treeDigest } from '../../fixtures/tree-digest.js';

/** What is somebody else's takes root to make. */
const AS_ROOT = { skip: process.getuid?.() !== 0 };
const QEMU = 64055;
const TAMPERED = { code: 'HOST_TAMPERED', message: /nvram: it is a symbolic link/, next: /ls -ld/ };
const NEW = captureOf({
  'tpm2/tpm2-00.permall': blob('used-restarted.permall'),
  'nvram/nvram.fd': "QEMU's bytes",
});

interface Place extends HostRig {
  readonly nvramDirectory: string;
  readonly canary: string;
  expectWhole(what?: string): void;
}

/** A host whose NVRAM directory stands in one of QEMU's user. */
async function place(t: Test): Promise<Place> {
  const host = await makeHost(t);
  const root = dirname(host.swtpmRoot);
  const nvramDirectory = join(root, 'qemu', 'nvram');
  const nvramPath = join(nvramDirectory, 'vm_VARS.fd');
  const paths = { ...host.paths, nvramPath };
  const canary = join(root, 'canary');
  fs.mkdirSync(nvramDirectory, { recursive: true });
  fs.mkdirSync(canary);
  for (const name of ['vm_VARS.fd', 'shadow']) fs.writeFileSync(join(canary, name), 'secret');
  fs.writeFileSync(nvramPath, 'old variables');
  await put(paths.swtpmDirectory, { 'tpm2/tpm2-00.permall': blob('used.permall') });
  for (const path of [join(root, 'qemu'), nvramDirectory, nvramPath]) fs.chownSync(path, QEMU, QEMU);
  const whole = treeDigest(canary);
  return {
    ...host,
    paths,
    nvramPath,
    nvramDirectory,
    canary,
    expectWhole: (what = 'the canary') => t.equal(treeDigest(canary), whole, what),
  };
}

function swap(path: string, target: string): void {
  fs.renameSync(path, `${path}.aside`);
  fs.symlinkSync(target, path);
}

/** The host's context, in which `act` runs once, before the first call from that site. */
function intruded(host: Place, step: string, act: () => void): HostRig['context'] {
  let isDone = false;
  const files = interceptFileSystem(host.context.fs, async ({ site }, proceed) => {
    if (site === step && !isDone) {
      isDone = true;
      act();
    }
    return await proceed();
  });
  return host.withFileSystem(files);
}

t.test("root writes no NVRAM through a link in the place of libvirt's directory", AS_ROOT, async (t) => {
  const host = await place(t);
  swap(host.nvramDirectory, host.canary);
  await t.rejects(restoreState(host.context, host.paths, NEW), TAMPERED);
  host.expectWhole('the directory');
  t.match(await readStateNow(host.context, host.paths), {
    files: [{ role: 'tpm2' }],
    absent: [{ role: 'nvram', kind: 'unfit', reason: /nvram: it is a symbolic link/ }],
  });
  await t.rejects(setAside(host.context, host.paths, 'why'), TAMPERED);
  await t.rejects(sweepStaging(host.context, host.paths), TAMPERED);
  host.expectWhole();
  t.notMatch(JSON.stringify(await tree(host.context.stateDirectory)), 'secret');
});

for (const step of [
  'set-aside:lstat',
  'set-aside:open',
  'sweep-staging:unlink-nvram',
  'restore:lstat-nvram',
  'restore:open',
  'restore:chown',
  'restore:write',
  'restore:rename-nvram',
  'restore:sync-nvram',
]) {
  t.test(`nor does it when the link appears at ${step}`, AS_ROOT, async (t) => {
    const host = await place(t);
    const context = intruded(host, step, () => {
      swap(host.nvramDirectory, host.canary);
    });
    await t.rejects(restoreState(context, host.paths, NEW), TAMPERED);
    host.expectWhole();
  });
}

t.test("what is given to QEMU's user is our file, whatever its name is by then", AS_ROOT, async (t) => {
  for (const step of ['restore:chown', 'restore:write', 'restore:fsync', 'restore:rename-nvram']) {
    for (const make of [fs.linkSync, fs.symlinkSync]) {
      const host = await place(t);
      const context = intruded(host, step, () => {
        const staged = stagedNvramPath(host.nvramPath);
        if (fs.existsSync(staged)) fs.renameSync(staged, `${staged}.aside`);
        make(join(host.canary, 'shadow'), staged);
      });
      await restoreState(context, host.paths, NEW).catch(() => undefined);
      const { uid, mode } = fs.statSync(join(host.canary, 'shadow'));
      t.strictSame([uid, mode & 0o777], [0, 0o644], `${make.name} at ${step}`);
      t.equal(fs.readFileSync(join(host.canary, 'shadow'), 'utf8'), 'secret');
    }
  }
});

t.test('a file belongs to its owner before it has any content', AS_ROOT, async (t) => {
  const host = await place(t);
  const staged = stagedNvramPath(host.nvramPath);
  let seen: fs.Stats | undefined;
  const context = intruded(host, 'restore:write', () => undefined);
  const files = interceptFileSystem(context.fs, async ({ site, path }, proceed) => {
    if (site === 'restore:write' && path === staged) seen = fs.statSync(staged);
    return await proceed();
  });
  await restoreState({ ...context, fs: files }, host.paths, NEW);
  t.match(seen, { uid: QEMU, gid: QEMU, size: 0 });
  t.match(fs.statSync(host.nvramPath), { uid: QEMU, gid: QEMU, mode: 0o100640 });
});

t.test("another user's file with a second name in libvirt's directory is not read", AS_ROOT, async (t) => {
  const host = await place(t);
  fs.unlinkSync(host.nvramPath);
  fs.linkSync(join(host.canary, 'shadow'), host.nvramPath);
  const reason = /a second name \(hard link\) of a file of user 0/;
  t.match(await readStateNow(host.context, host.paths), {
    files: [{ role: 'tpm2' }],
    absent: [{ role: 'nvram', kind: 'unfit', reason }],
  });
  const setting = setAside(host.context, host.paths, 'why');
  await t.rejects(setting, { code: 'STATE_INVALID', message: reason });
  fs.unlinkSync(host.nvramPath);
  const own = join(host.nvramDirectory, 'backup');
  fs.writeFileSync(own, 'variables');
  fs.chownSync(own, QEMU, QEMU);
  fs.linkSync(own, host.nvramPath);
  t.equal((await readStateNow(host.context, host.paths)).files.length, 2, 'his own file is');
});

t.test('an old TPM directory is swept whatever its user put into it', AS_ROOT, async (t) => {
  const host = await place(t);
  const old = join(stagingDirectory(host.paths), 'old-tpm2');
  fs.mkdirSync(join(old, 'directory', 'deeper'), { recursive: true });
  fs.writeFileSync(join(old, 'directory', 'file'), '');
  for (const name of ['link', 'directory/link']) fs.symlinkSync(host.canary, join(old, name));
  fs.linkSync(join(host.canary, 'shadow'), join(old, 'directory', 'hard'));
  fs.unlinkSync(join(old, 'directory', 'hard'));
  const whole = treeDigest(host.canary);
  await sweepStaging(host.context, host.paths);
  t.equal(treeDigest(host.canary), whole);
  t.notOk(fs.existsSync(stagingDirectory(host.paths)));
});

t.test('a directory that becomes a link while it is swept empties nothing', AS_ROOT, async (t) => {
  for (const step of ['sweep-staging:lstat', 'sweep-staging:readdir', 'sweep-staging:unlink']) {
    const host = await place(t);
    const old = join(stagingDirectory(host.paths), 'old-tpm2');
    fs.mkdirSync(old, { recursive: true });
    for (const name of ['shadow', 'vm_VARS.fd']) fs.writeFileSync(join(old, name), '');
    const context = intruded(host, step, () => {
      swap(old, host.canary);
    });
    const { fs: files } = context;
    const strict = { ...context, fs: linkFree(files, host.swtpmRoot, 'HOST_TAMPERED') };
    await sweepStaging(strict, host.paths).catch((error: unknown) => {
      t.match(error, { code: 'HOST_TAMPERED' });
    });
    host.expectWhole(step);
  }
});

t.test('links are taken away without touching what they name', AS_ROOT, async (t) => {
  const host = await place(t);
  const { paths, canary } = host;
  fs.rmSync(paths.swtpmDirectory, { recursive: true });
  fs.symlinkSync(canary, paths.swtpmDirectory);
  await takeLinksAway(linkFree(host.context.fs, host.swtpmRoot, 'HOST_TAMPERED'), paths);
  t.equal(fs.readlinkSync(movedLinkPath(paths)), canary);
  host.expectWhole();
});

t.test(
  "a state is written into another user's directory, and nowhere that he leads to",
  AS_ROOT,
  async (t) => {
    const steps = ['mkdir', 'readdir', 'sync-parent', 'open', 'write', 'fsync', 'close', 'sync'];
    const ways: readonly ((given: string) => string)[] = [
      (given) => given,
      (given) => join(given, 'tpm2'),
      (given) => join(given, 'tpm2', 'tpm2-00.permall'),
    ];
    for (const step of ['none', ...steps]) {
      for (const wayOf of ways) {
        const host = await place(t);
        const given = join(host.nvramDirectory, 'given');
        fs.mkdirSync(given);
        fs.chownSync(given, QEMU, QEMU);
        const way = wayOf(given);
        const plant = (): void => {
          if (!fs.existsSync(dirname(way))) return;
          if (fs.existsSync(way)) fs.renameSync(way, `${way}.aside`);
          fs.symlinkSync(host.canary, way);
        };
        if (step === 'none') plant();
        const context = intruded(host, `state-tree:${step}`, plant);
        const outcome = await writeStateTree(context.fs, given, NEW).then(
          () => 'written',
          (error: unknown) => (error as { code?: string }).code ?? String(error),
        );
        host.expectWhole(`${step} ${way.slice(given.length)}: ${outcome}`);
        t.strictSame(fs.readdirSync(host.canary).sort(), ['shadow', 'vm_VARS.fd']);
        t.match(outcome, /^(written|HOST_TAMPERED|HOST_IO|USAGE)$/);
      }
    }
    const host = await place(t);
    t.strictSame(await writeStateTree(host.context.fs, join(host.nvramDirectory, 'new'), NEW), [
      'nvram/nvram.fd',
      'tpm2/tpm2-00.permall',
    ]);
    for (const name of ['', 'tpm2', 'tpm2/tpm2-00.permall']) {
      const { uid, mode } = fs.statSync(join(host.nvramDirectory, 'new', name));
      t.strictSame([uid, mode & 0o077], [0, 0], `${name}: for whoever asked alone`);
    }
  },
);
