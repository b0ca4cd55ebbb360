/**
 * disk-file: an open file of a simulated disk. It is one inode whatever happens to its names, until it is closed, its process dies or the power fails.
 */
import type { FileStat, OpenFile } from '../../src/model/filesystem.js';
import type { SimulatedDisk } from './disk.js';
import { statOf, type FileInode, type Inode, type SymlinkInode } from './inode.js';
import type { SimulatedProcess } from './process.js';
import { systemError } from './system-error.js';

export class DiskOpenFile implements OpenFile {
  readonly #disk: SimulatedDisk;
  readonly #process: SimulatedProcess;
  readonly #inode: Exclude<Inode, SymlinkInode>;
  readonly #writable: boolean;
  readonly #boot: number;
  readonly #forgetEnding: () => void;
  #open = true;

  constructor(
    disk: SimulatedDisk,
    process: SimulatedProcess,
    inode: Exclude<Inode, SymlinkInode>,
    writable: boolean,
  ) {
    this.#disk = disk;
    this.#process = process;
    this.#inode = inode;
    this.#writable = writable;
    this.#boot = disk.boot;
    if (inode.kind === 'file') disk.tree.opened(inode);
    this.#forgetEnding = process.onEnd(() => {
      this.#release();
    });
  }

  read(_site: string, length: number, position: number): Promise<Uint8Array> {
    return this.#perform(() => {
      if (this.#writable) throw systemError('EBADF');
      return this.#file().data.slice(position, position + length);
    });
  }

  write(_site: string, data: Uint8Array, position: number): Promise<number> {
    const piece = data.slice();
    return this.#perform(() => {
      if (!this.#writable) throw systemError('EBADF');
      return this.#disk.tree.write(this.#file(), piece, position);
    });
  }

  stat(): Promise<FileStat> {
    return this.#perform(() => statOf(this.#inode));
  }

  chown(_site: string, uid: number, gid: number): Promise<void> {
    return this.#perform(() => {
      this.#disk.tree.setAttributes(this.#inode, { uid, gid });
    });
  }

  sync(): Promise<void> {
    return this.#perform(() => {
      this.#disk.tree.sync(this.#file());
    });
  }

  close(): Promise<void> {
    return this.#perform(() => {
      this.#release();
    });
  }

  #perform<T>(apply: () => T): Promise<T> {
    return this.#disk.perform(this.#process, () => {
      if (!this.#open) throw systemError('EBADF');
      if (this.#boot !== this.#disk.boot) throw systemError('EIO');
      return apply();
    });
  }

  #file(): FileInode {
    if (this.#inode.kind === 'directory') throw systemError('EISDIR');
    return this.#inode;
  }

  #release(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forgetEnding();
    if (this.#inode.kind === 'file' && this.#boot === this.#disk.boot) this.#disk.tree.closed(this.#inode);
  }
}
