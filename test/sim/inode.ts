/**
 * inode: what a simulated file system is made of, each with what the kernel shows (volatile) and what a power loss leaves (durable).
 *
 * File contents are immutable arrays that a write replaces, so that durable state, caches and open requests share them without copies, and
 * `data === durableData` means clean. Owner, mode and times have no durable twin: they survive every crash.
 */
import type { FileStat } from '../../src/model/filesystem.js';
import { systemError } from './system-error.js';

export interface InodeBase {
  readonly number: bigint;
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  /** Counts changes of content, entries and attributes: NFS's change attribute. */
  change: number;
  /** Names of this inode; 0 once it was removed, although open handles may keep its content. */
  links: number;
}

export interface FileInode extends InodeBase {
  readonly kind: 'file';
  data: Uint8Array;
  durableData: Uint8Array;
  /** Open handles; the content is freed with the last name and the last handle. */
  opens: number;
}

export interface DirectoryInode extends InodeBase {
  readonly kind: 'directory';
  entries: Map<string, Inode>;
  durableEntries: Map<string, Inode>;
  /** The root is its own parent. */
  parent: DirectoryInode;
}

export interface SymlinkInode extends InodeBase {
  readonly kind: 'symlink';
  readonly target: string;
}

export type Inode = FileInode | DirectoryInode | SymlinkInode;

export const NO_DATA = new Uint8Array(0);

/** An empty directory; without a parent it is a root. */
export function makeDirectory(base: InodeBase, parent: DirectoryInode | undefined): DirectoryInode {
  const entries = { entries: new Map<string, Inode>(), durableEntries: new Map<string, Inode>() };
  const made: Omit<DirectoryInode, 'parent'> & { parent?: DirectoryInode } = {
    ...base,
    kind: 'directory',
    ...entries,
  };
  return Object.assign(made, { parent: parent ?? (made as DirectoryInode) });
}

export function statOf(inode: Inode): FileStat {
  const { kind, mode, uid, gid, number, links, mtimeNs } = inode;
  const size = sizeOf(inode);
  return { kind, size, mode, uid, gid, inode: number, links, mtimeNs, ctimeNs: mtimeNs };
}

/** @throws `EINVAL` when it is no symbolic link */
export function targetOf(inode: Inode): string {
  if (inode.kind !== 'symlink') throw systemError('EINVAL');
  return inode.target;
}

function sizeOf(inode: Inode): number {
  if (inode.kind === 'file') return inode.data.length;
  return inode.kind === 'symlink' ? Buffer.byteLength(inode.target) : 4096;
}

/** `data` with `piece` written at `position`; a gap is filled with zeros. */
export function overwritten(data: Uint8Array, piece: Uint8Array, position: number): Uint8Array {
  const end = position + piece.length;
  if (position === 0 && end >= data.length) return piece.slice();
  const result = new Uint8Array(Math.max(data.length, end));
  result.set(data);
  result.set(piece, position);
  return result;
}
