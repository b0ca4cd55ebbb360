/**
 * nfs-file: an open file of an NFS client. Reads ask the server, so that a file which another host removed answers `ESTALE`; writes stay with the
 * kernel until fsync or close.
 */
import type { FileStat, OpenFile } from '../../src/model/filesystem.js';
import { statOf, type DirectoryInode, type FileInode } from './inode.js';
import type { NfsMount } from './nfs-mount.js';
import type { NfsPages } from './nfs-pages.js';
import type { SimulatedProcess } from './process.js';
import { systemError } from './system-error.js';

export class NfsOpenFile implements OpenFile {
  readonly #mount: NfsMount;
  readonly #process: SimulatedProcess;
  readonly #inode: FileInode | DirectoryInode;
  readonly #pages: NfsPages | undefined;
  readonly #writable: boolean;
  readonly #forgetEnding: () => void;
  #open = true;

  constructor(
    mount: NfsMount,
    process: SimulatedProcess,
    inode: FileInode | DirectoryInode,
    writable: boolean,
  ) {
    this.#mount = mount;
    this.#process = process;
    this.#inode = inode;
    this.#writable = writable;
    this.#pages = inode.kind === 'file' ? mount.opened(inode) : undefined;
    // The kernel closes the files of a killed process, and sends what it had written.
    this.#forgetEnding = process.onEnd(() => {
      void this.#pages?.flush().then(() => {
        this.#release();
      });
    });
  }

  async read(_site: string, length: number, position: number): Promise<Uint8Array> {
    const pages = this.#usablePages();
    if (this.#writable) throw systemError('EBADF');
    const { inode } = pages;
    const content = await this.#mount.request(this.#process, {
      name: 'READ',
      detail: `inode ${inode.number}`,
      execute: () => {
        if (inode.links === 0) throw systemError('ESTALE');
        return inode.data;
      },
    });
    return pages.overlay(content).slice(position, position + length);
  }

  async write(_site: string, data: Uint8Array, position: number): Promise<number> {
    const pages = this.#usablePages();
    if (!this.#writable) throw systemError('EBADF');
    pages.write(data, position);
    return data.length;
  }

  async stat(): Promise<FileStat> {
    this.#expectOpen();
    await this.#pages?.flush();
    const inode = this.#inode;
    const known = this.#mount.cache.attributes(inode);
    if (known) return known;
    const stat = await this.#mount.request(this.#process, {
      name: 'GETATTR',
      detail: `inode ${inode.number}`,
      execute: () => {
        if (inode.links === 0) throw systemError('ESTALE');
        return statOf(inode);
      },
    });
    this.#mount.cache.setAttributes(inode, stat);
    return stat;
  }

  async chown(_site: string, uid: number, gid: number): Promise<void> {
    this.#expectOpen();
    const inode = this.#inode;
    const stat = await this.#mount.request(this.#process, {
      name: 'SETATTR',
      detail: `inode ${inode.number}`,
      execute: (tree) => {
        if (inode.links === 0) throw systemError('ESTALE');
        tree.setAttributes(inode, { uid, gid });
        return statOf(inode);
      },
    });
    this.#mount.cache.setAttributes(inode, stat);
  }

  async sync(): Promise<void> {
    const pages = this.#usablePages();
    await pages.flush();
    pages.takeError();
  }

  async close(): Promise<void> {
    this.#expectOpen();
    await this.#pages?.flush();
    this.#release();
    if (this.#writable) this.#pages?.takeError();
  }

  #expectOpen(): void {
    if (!this.#open) throw systemError('EBADF');
    if (!this.#mount.alive) throw systemError('EIO');
  }

  #usablePages(): NfsPages {
    this.#expectOpen();
    if (!this.#pages) throw systemError('EISDIR');
    return this.#pages;
  }

  #release(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forgetEnding();
    if (this.#pages) this.#mount.closed(this.#pages);
  }
}
