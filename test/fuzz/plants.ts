/**
 * plants: what somebody who can write to a directory puts in the place of what the product expects.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../../src/model/errors.js';
import type { SeededRandom } from '../sim/random.js';
import { isRoot, type TreeWorld } from './tree-world.js';

const SOMEBODY = 4711;
const SPARSE_BYTES = 2 ** 40;

type Plant = (path: string, world: TreeWorld) => void;

/** In place of what stands there. */
const REPLACEMENTS: Record<string, Plant> = {
  'link to a directory of the canary': (path, world) => {
    const same = join(world.canary, basename(path));
    const isThere = fs.statSync(same, { throwIfNoEntry: false })?.isDirectory() === true;
    fs.symlinkSync(isThere ? same : world.canary, path);
  },
  'link to a file of the canary': (path, world) => {
    fs.symlinkSync(join(world.canary, fileFor(path)), path);
  },
  'relative link': (path, world) => {
    const up = path
      .slice(world.root.length + 1)
      .replaceAll(/[^/]+/g, '..')
      .slice(3);
    fs.symlinkSync(join(up, 'canary'), path);
  },
  'link to nothing': (path) => {
    fs.symlinkSync('/nowhere/at/all', path);
  },
  'link to itself': (path) => {
    fs.symlinkSync(basename(path), path);
  },
  'link to its own directory': (path) => {
    fs.symlinkSync('.', path);
  },
  'hard link': (path, world) => {
    fs.linkSync(join(world.canary, fileFor(path)), path);
  },
  FIFO: (path) => {
    spawnSync('mkfifo', [path]);
  },
  device: (path) => {
    spawnSync('mknod', [path, 'c', '1', '5']);
  },
  'sparse file': (path) => {
    fs.writeFileSync(path, '');
    fs.truncateSync(path, SPARSE_BYTES);
  },
  'empty file': (path) => {
    fs.writeFileSync(path, '');
  },
  junk: (path) => {
    fs.writeFileSync(path, '\u0000\u001b[2J{"'.repeat(99));
  },
  'empty directory': (path) => {
    fs.mkdirSync(path);
  },
  'full directory': (path, world) => {
    fs.mkdirSync(join(path, 'a', 'b'), { recursive: true });
    fs.symlinkSync(world.canary, join(path, 'tpm2'));
    fs.symlinkSync(world.canary, join(path, 'a', 'b', 'c'));
  },
};

/** On what stands there. */
const CHANGES: Record<string, Plant> = {
  'other owner': (path) => {
    if (isRoot) fs.lchownSync(path, SOMEBODY, SOMEBODY);
  },
  'no permissions': (path) => {
    if (!fs.lstatSync(path).isSymbolicLink()) fs.chmodSync(path, 0);
  },
  'for everybody': (path) => {
    if (!fs.lstatSync(path).isSymbolicLink()) fs.chmodSync(path, 0o777);
  },
};

export const PLANTS = [...Object.keys(REPLACEMENTS), ...Object.keys(CHANGES)];

/** A node as expensive as a process is planted seldom. */
export function choosePlant(random: SeededRandom): string {
  const what = random.pick(PLANTS);
  if (['FIFO', 'device'].includes(what) && random.chance(0.7)) return random.pick(PLANTS);
  return what === 'device' && !isRoot ? 'junk' : what;
}

/** @returns whether it could be planted: never through a link that was planted before */
export function plant(world: TreeWorld, what: string, path: string): boolean {
  if (!isRealDirectory(world, dirname(path))) return false;
  const change = CHANGES[what];
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  const isThere = stat !== undefined;
  if (change) {
    // A second name of one of the canary's files may have been planted here.
    const isOwn = isThere && (stat.isDirectory() || stat.nlink === 1);
    if (isOwn) change(path, world);
    return isOwn;
  }
  if (isThere) moveAside(world, path);
  REPLACEMENTS[what]?.(path, world);
  return true;
}

/** Turns a directory into a link to the canary and back, until it is stopped. */
export function turn(world: TreeWorld, path: string): () => void {
  let isStopped = false;
  const aside = join(world.root, 'turned-aside');
  const swap = (): void => {
    const stat = fs.lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink() && fs.existsSync(aside)) {
      fs.unlinkSync(path);
      fs.renameSync(aside, path);
    } else if (stat?.isDirectory()) {
      fs.rmSync(aside, { recursive: true, force: true });
      fs.renameSync(path, aside);
      fs.symlinkSync(world.canary, path);
    }
  };
  const step = (): void => {
    if (isStopped) return;
    setImmediate(step);
    if (!isRealDirectory(world, dirname(path))) return;
    try {
      swap();
    } catch (error) {
      // The product, on threads of its own, was quicker.
      if (errnoOf(error) === undefined) throw error;
    }
  };
  setImmediate(step);
  return () => {
    isStopped = true;
    fs.rmSync(aside, { recursive: true, force: true });
  };
}

/** From the top down, so that no link is gone through. */
function isRealDirectory(world: TreeWorld, path: string): boolean {
  if (path === world.root) return true;
  if (!path.startsWith(`${world.root}/`) || !isRealDirectory(world, dirname(path))) return false;
  return fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** To where neither the product nor the oracle looks for it. */
function moveAside(world: TreeWorld, path: string): void {
  const aside = join(world.root, 'aside');
  fs.rmSync(aside, { recursive: true, force: true });
  fs.renameSync(path, aside);
}

function fileFor(path: string): string {
  return (
    ['heartbeat', 'host.json', 'vm_VARS.fd', 'tpm2-00.permall'].find((name) => path.endsWith(name)) ??
    'heartbeat'
  );
}
