/**
 * inode-tree: a file system in memory, by inode: synchronous operations on directories and names with Linux's errors, the space they take, and
 * what a power loss leaves of them. The simulated disk and the simulated NFS server stand on it. Everything is permitted, as to root.
 *
 * I1 `used` is the content of every file that has a name or an open handle.
 * I2 Every change of entries goes through `#change`, so the journal knows it.
 */
import type { FileSystemSpace } from '../../src/model/filesystem.js';
import {
  makeDirectory,
  NO_DATA,
  overwritten,
  type DirectoryInode,
  type FileInode,
  type Inode,
  type InodeBase,
} from './inode.js';
import { MetadataJournal, type CrashModel, type EntryChange } from './metadata-journal.js';
import { recover } from './power-loss.js';
import { asDirectory } from './path-walk.js';
import type { SeededRandom } from './random.js';
import { systemError } from './system-error.js';

const INODES_TOTAL = 1_000_000;

export class InodeTree {
  readonly root: DirectoryInode;
  readonly journal = new MetadataJournal();
  /** May be lowered below what is used, to fill the disk. */
  capacityBytes: number;
  /** Told of every change of entries once it was made, but not of what a power loss takes. */
  observer: ((changes: readonly EntryChange[]) => void) | undefined;
  readonly #wallNs: () => bigint;
  #used = 0;
  #inodes = 1;
  #lastNumber = 1n;

  constructor(wallNs: () => bigint, capacityBytes = 1 << 30) {
    this.#wallNs = wallNs;
    this.capacityBytes = capacityBytes;
    this.root = makeDirectory(this.#base(0o755), undefined);
    this.root.links = 1;
  }

  lookup(directory: DirectoryInode, name: string): Inode | undefined {
    if (directory.links === 0) throw systemError('ENOENT');
    return name === '' ? directory : directory.entries.get(name);
  }

  /** @throws `ENOENT` */
  find(directory: DirectoryInode, name: string): Inode {
    const inode = this.lookup(directory, name);
    if (!inode) throw systemError('ENOENT');
    return inode;
  }

  /** Opens a file for writing, making it if it is missing; a symbolic link must have been followed before. */
  create(directory: DirectoryInode, name: string, mode: number, exclusive: boolean): FileInode {
    const existing = this.lookup(directory, name);
    if (existing && exclusive) throw systemError('EEXIST');
    if (existing?.kind === 'directory') throw systemError('EISDIR');
    if (existing?.kind === 'symlink') throw systemError('ELOOP');
    if (existing) return existing;
    const file: FileInode = {
      ...this.#base(mode),
      kind: 'file',
      data: NO_DATA,
      durableData: NO_DATA,
      opens: 0,
    };
    this.#add(directory, name, file);
    return file;
  }

  symlink(directory: DirectoryInode, name: string, target: string): Inode {
    if (target === '') throw systemError('ENOENT');
    this.#expectFree(directory, name);
    const link: Inode = { ...this.#base(0o777), kind: 'symlink', target };
    this.#add(directory, name, link);
    return link;
  }

  mkdir(directory: DirectoryInode, name: string, mode: number): DirectoryInode {
    this.#expectFree(directory, name);
    const made = makeDirectory(this.#base(mode), directory);
    this.#add(directory, name, made);
    return made;
  }

  link(inode: Inode, directory: DirectoryInode, name: string): void {
    if (inode.kind === 'directory') throw systemError('EPERM');
    if (inode.links === 0) throw systemError('ENOENT');
    this.#expectFree(directory, name);
    this.#add(directory, name, inode);
  }

  rename(from: DirectoryInode, fromName: string, to: DirectoryInode, toName: string): Inode {
    if (fromName === '' || toName === '') throw systemError('EBUSY');
    const moved = this.find(from, fromName);
    const replaced = this.lookup(to, toName);
    if (moved === replaced) return moved;
    if (moved.kind === 'directory' && isWithin(to, moved)) throw systemError('EINVAL');
    if (replaced?.kind === 'directory') {
      if (moved.kind !== 'directory') throw systemError('EISDIR');
      if (replaced.entries.size > 0) throw systemError('ENOTEMPTY');
    } else if (replaced && moved.kind === 'directory') {
      throw systemError('ENOTDIR');
    }
    this.#change([
      { directory: from, name: fromName, inode: undefined },
      { directory: to, name: toName, inode: moved },
    ]);
    if (moved.kind === 'directory') moved.parent = to;
    if (replaced) this.#unlinked(replaced);
    return moved;
  }

  unlink(directory: DirectoryInode, name: string): void {
    const inode = this.find(directory, name);
    if (inode.kind === 'directory') throw systemError('EISDIR');
    this.#change([{ directory, name, inode: undefined }]);
    this.#unlinked(inode);
  }

  rmdir(directory: DirectoryInode, name: string): void {
    const inode = asDirectory(this.find(directory, name));
    if (name === '') throw systemError('EBUSY');
    if (inode.entries.size > 0) throw systemError('ENOTEMPTY');
    this.#change([{ directory, name, inode: undefined }]);
    this.#unlinked(inode);
  }

  setAttributes(inode: Inode, attributes: { mode?: number; uid?: number; gid?: number }): void {
    Object.assign(inode, attributes);
    inode.change += 1;
  }

  truncate(file: FileInode): void {
    this.#replaceData(file, NO_DATA);
  }

  /**
   * The number of bytes written: fewer than asked when the disk fills up.
   *
   * @throws `ENOSPC` when not one byte fits
   */
  write(file: FileInode, piece: Uint8Array, position: number): number {
    const free = Math.max(0, this.capacityBytes - this.#used);
    const fitting = Math.min(piece.length, Math.max(0, file.data.length + free - position));
    if (fitting === 0 && piece.length > 0) throw systemError('ENOSPC');
    this.#replaceData(file, overwritten(file.data, piece.subarray(0, fitting), position));
    return fitting;
  }

  sync(file: FileInode): void {
    file.durableData = file.data;
  }

  /** Everything becomes durable, as by `sync(2)`. */
  syncAll(): void {
    this.journal.syncAll();
    syncFiles(this.root);
  }

  /** This disk becomes an image of another one as it is now, with its files' times. */
  copyFrom(source: InodeTree): void {
    for (const [name, inode] of [...this.root.entries]) this.#clear(this.root, name, inode);
    this.#copy(source.root, this.root);
    this.syncAll();
  }

  #clear(directory: DirectoryInode, name: string, inode: Inode): void {
    if (inode.kind !== 'directory') {
      this.unlink(directory, name);
      return;
    }
    for (const [its, child] of [...inode.entries]) this.#clear(inode, its, child);
    this.rmdir(directory, name);
  }

  #copy(from: DirectoryInode, to: DirectoryInode): void {
    for (const [name, inode] of from.entries) {
      const { mtimeNs, mode } = inode;
      if (inode.kind === 'directory') {
        const made = this.mkdir(to, name, mode);
        this.#copy(inode, made);
        made.mtimeNs = mtimeNs;
      } else if (inode.kind === 'symlink') {
        this.symlink(to, name, inode.target);
      } else {
        const file = this.create(to, name, mode, true);
        if (inode.data.length > 0) this.write(file, inode.data, 0);
        file.mtimeNs = mtimeNs;
      }
    }
  }

  opened(file: FileInode): void {
    file.opens += 1;
  }

  closed(file: FileInode): void {
    file.opens -= 1;
    this.#free(file);
  }

  space(): Omit<FileSystemSpace, 'kind' | 'mountOptions'> {
    return {
      totalBytes: this.capacityBytes,
      availableBytes: Math.max(0, this.capacityBytes - this.#used),
      availableInodes: INODES_TOTAL - this.#inodes,
    };
  }

  /** What is left after a power loss: durable entries, and of each unsynced file its old, its new, or a torn content. */
  powerLoss(model: CrashModel, random: SeededRandom): void {
    const left = recover(this.root, this.journal, model, random);
    this.#used = left.usedBytes;
    this.#inodes = left.inodes;
  }

  #expectFree(directory: DirectoryInode, name: string): void {
    if (this.lookup(directory, name)) throw systemError('EEXIST');
  }

  #add(directory: DirectoryInode, name: string, inode: Inode): void {
    if (inode.links === 0) this.#inodes += 1;
    inode.links += 1;
    inode.change += 1;
    this.#change([{ directory, name, inode }]);
  }

  #change(changes: readonly EntryChange[]): void {
    for (const { directory, name, inode } of changes) {
      if (inode) directory.entries.set(name, inode);
      else directory.entries.delete(name);
      directory.change += 1;
      directory.mtimeNs = this.#wallNs();
    }
    this.journal.record(changes);
    this.observer?.(changes);
  }

  #unlinked(inode: Inode): void {
    inode.links -= 1;
    inode.change += 1;
    if (inode.links > 0) return;
    this.#inodes -= 1;
    if (inode.kind === 'file') this.#free(inode);
  }

  #replaceData(file: FileInode, data: Uint8Array): void {
    this.#used += data.length - file.data.length;
    file.data = data;
    file.change += 1;
    file.mtimeNs = this.#wallNs();
  }

  #free(file: FileInode): void {
    if (file.links === 0 && file.opens === 0) this.#used -= file.data.length;
  }

  #base(mode: number): InodeBase {
    this.#lastNumber += 1n;
    return {
      number: this.#lastNumber,
      mode: mode & 0o7777,
      uid: 0,
      gid: 0,
      mtimeNs: this.#wallNs(),
      change: 0,
      links: 0,
    };
  }
}

function isWithin(directory: DirectoryInode, ancestor: DirectoryInode): boolean {
  for (let at = directory; ; at = at.parent) {
    if (at === ancestor) return true;
    if (at === at.parent) return false;
  }
}

function syncFiles(directory: DirectoryInode): void {
  for (const inode of directory.entries.values()) {
    if (inode.kind === 'directory') syncFiles(inode);
    else if (inode.kind === 'file') inode.durableData = inode.data;
  }
}
