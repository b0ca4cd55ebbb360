/**
 * path-walk: how a path leads to a directory and a last name. A generator that asks for one look-up after another, so that a disk can answer
 * at once and an NFS client by a request, under the same rules.
 */
import type { DirectoryInode, Inode } from './inode.js';
import { systemError } from './system-error.js';

/** A name in a directory. The empty name is the directory itself (the root, or a path that ends in dots). */
export interface Place {
  readonly directory: DirectoryInode;
  readonly name: string;
}

/** Whether a symbolic link in the last component is what the path means, or what it points at. */
export type LastLink = 'keep' | 'follow';

const LINKS_MAX = 40;
const NAME_BYTES_MAX = 255;

/**
 * Yields places to look up and is sent the inode there, or undefined for a missing name.
 *
 * @throws `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG`
 */
export function* walk(
  root: DirectoryInode,
  path: string,
  lastLink: LastLink,
): Generator<Place, Place, Inode | undefined> {
  if (path === '') throw systemError('ENOENT');
  const pending = split(path);
  let directory = root;
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '.') continue;
    if (name === '..') {
      directory = directory.parent;
      continue;
    }
    if (Buffer.byteLength(name) > NAME_BYTES_MAX) throw systemError('ENAMETOOLONG');
    const place = { directory, name };
    if (pending.length === 0 && lastLink === 'keep') return place;
    const inode = yield place;
    if (inode?.kind === 'symlink') {
      links += 1;
      if (links > LINKS_MAX) throw systemError('ELOOP');
      if (inode.target.startsWith('/')) directory = root;
      pending.push(...split(inode.target));
    } else if (pending.length === 0) {
      return place;
    } else {
      directory = asDirectory(inode);
    }
  }
  return { directory, name: '' };
}

/**
 * @throws `ENOENT` for undefined, `ENOTDIR` for another kind
 */
export function asDirectory(inode: Inode | undefined): DirectoryInode {
  if (!inode) throw systemError('ENOENT');
  if (inode.kind !== 'directory') throw systemError('ENOTDIR');
  return inode;
}

/** Last component first. */
function split(path: string): string[] {
  return path.split('/').filter(Boolean).reverse();
}
