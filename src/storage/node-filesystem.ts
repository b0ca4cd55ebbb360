/**
 * node-filesystem: the `FileSystem` port on the real system calls.
 *
 * Every name is reached through a descriptor of its directory (`node-directories.ts`), so that nobody who can write to a directory on the way can
 * lead a call elsewhere. The last component is never followed either: an open carries `O_NOFOLLOW`, and `O_NONBLOCK`, since a FIFO in a file's place must not
 * hang us. What is opened to be written is a regular file with one name, or nothing is written: a second name is somebody else's file. It is emptied only
 * when that is known. libuv adds `O_CLOEXEC` to every open.
 *
 * `syncDirectory` costs no request on NFS, where a directory operation is durable when it returns (`share-semantics.ts`). The mount is judged once: the first directory seen on a device is asked for its file system, and if
 * that is NFS, the top of the mount is found by walking up to where the device changes. From then on a path below that top is known by its
 * prefix alone. On a host's own disks, of which none is NFS, that question would be a call more for each directory.
 * Not guaranteed: that a mount exchanged under the same path, while the process lives, is judged anew.
 */
import * as fs from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { errnoOf } from '../model/errors.js';
import { fileSystemKind, semanticsOf } from '../model/share-semantics.js';
import type {
  CallSite,
  FileKind,
  FileStat,
  FileSystem,
  FileSystemSpace,
  OpenFile,
  OpenMode,
  PathRefusal,
} from '../model/filesystem.js';
import {
  descriptorPath,
  lstatAt,
  openFile,
  readlinkAt,
  result,
  statfsAt,
  statOf,
  success,
} from './node-calls.js';
import { NodeDirectories, O_PATH, type DirectoriesOptions } from './node-directories.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
  create: O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
  'create-exclusive': O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
  overwrite: O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
};

const PERMISSIONS_DEFAULT = 0o600;
const PERMISSION_BITS = 0o7777n;
const MOUNT_TABLE = '/proc/self/mountinfo';
/** Two of each of so many volumes are synced again and again. */
const SYNCED_DIRECTORIES_MAX = 8192;

export interface NodeFileSystemOptions extends DirectoriesOptions {
  /** Whether a directory may lie on NFS, where it need not be synced. @default true */
  readonly mayBeNfs?: boolean;
}

export class NodeFileSystem implements FileSystem {
  readonly #mayBeNfs: boolean;
  readonly #directories: NodeDirectories;
  /** Tops of the NFS mounts met so far. */
  readonly #nfsTops = new Set<string>();
  /** Devices known to be something else than NFS. */
  readonly #syncedDevices = new Set<bigint>();
  /** Directories found on one of those: they are synced without being asked again, which is right whatever is mounted there later. */
  readonly #syncedDirectories = new Set<string>();

  constructor({ mayBeNfs = true, linkFree }: NodeFileSystemOptions = {}) {
    this.#mayBeNfs = mayBeNfs;
    this.#directories = new NodeDirectories({ linkFree });
  }

  linkFree(root: string, refusal: PathRefusal): NodeFileSystem {
    return new NodeFileSystem({ mayBeNfs: this.#mayBeNfs, linkFree: { root, refusal } });
  }

  open(_site: CallSite, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile> {
    return this.#at(path, async (at) => {
      if (mode === 'read' || mode === 'create-exclusive') {
        return new NodeOpenFile(await openFile(at, OPEN_FLAGS[mode], permissions ?? PERMISSIONS_DEFAULT));
      }
      const descriptor = await this.#openForWriting(path, at, OPEN_FLAGS[mode], permissions);
      try {
        await this.#expectOwnFile(path, descriptor, mode);
      } catch (error) {
        fs.closeSync(descriptor);
        throw error;
      }
      return new NodeOpenFile(descriptor);
    });
  }

  readdir(_site: CallSite, path: string): Promise<string[]> {
    return this.#directories.use(path, ({ self }) =>
      result((done) => {
        fs.readdir(self, done);
      }),
    );
  }

  lstat(_site: CallSite, path: string): Promise<FileStat> {
    return this.#at(path, async (at) => toFileStat(await lstatAt(at)));
  }

  readlink(_site: CallSite, path: string): Promise<string> {
    return this.#at(path, readlinkAt);
  }

  symlink(_site: CallSite, target: string, path: string): Promise<void> {
    return this.#at(path, (at) =>
      success((done) => {
        fs.symlink(target, at, done);
      }),
    );
  }

  link(_site: CallSite, existing: string, path: string): Promise<void> {
    return this.#at(existing, (from) =>
      this.#at(path, (to) =>
        success((done) => {
          fs.link(from, to, done);
        }),
      ),
    );
  }

  rename(_site: CallSite, from: string, to: string): Promise<void> {
    return this.#at(from, (atFrom) =>
      this.#at(to, (atTo) =>
        success((done) => {
          fs.rename(atFrom, atTo, done);
        }),
      ),
    );
  }

  unlink(_site: CallSite, path: string): Promise<void> {
    return this.#at(path, (at) =>
      success((done) => {
        fs.unlink(at, done);
      }),
    );
  }

  mkdir(_site: CallSite, path: string, permissions: number): Promise<void> {
    return this.#at(path, (at) =>
      success((done) => {
        fs.mkdir(at, permissions, done);
      }),
    );
  }

  rmdir(_site: CallSite, path: string): Promise<void> {
    return this.#at(path, (at) =>
      success((done) => {
        fs.rmdir(at, done);
      }),
    );
  }

  chmod(_site: CallSite, path: string, permissions: number): Promise<void> {
    return this.#onItself(path, (self, stat) => {
      if (stat.isSymbolicLink()) throw this.#directories.refusal(path, 'it is a symbolic link');
      return success((done) => {
        fs.chmod(self, permissions, done);
      });
    });
  }

  chown(_site: CallSite, path: string, uid: number, gid: number): Promise<void> {
    return this.#onItself(path, (self) =>
      success((done) => {
        fs.chown(self, uid, gid, done);
      }),
    );
  }

  async syncDirectory(_site: CallSite, path: string): Promise<void> {
    if (this.#isBelowNfsTop(path)) return;
    await this.#directories.use(path, async ({ self }) => {
      const descriptor = await openFile(self, O_RDONLY | O_DIRECTORY);
      const directory = new NodeOpenFile(descriptor);
      try {
        if (await this.#isOnNfs(path, descriptor)) return;
        await directory.sync();
      } finally {
        await directory.close();
      }
    });
  }

  statfs(_site: CallSite, path: string): Promise<FileSystemSpace> {
    return this.#directories.use(path, async ({ self, descriptor }) => {
      const { type, bsize, bavail, blocks, files, ffree } = await statfsAt(self);
      const mount = await mountOf((await statOf(descriptor)).dev);
      return {
        availableBytes: bavail * bsize,
        totalBytes: blocks * bsize,
        availableInodes: countedInodes(files, ffree),
        kind: fileSystemKind(type, mount.type),
        mountOptions: mount.options,
      };
    });
  }

  /** Runs a call on the last component of a path alone. */
  #at<T>(path: string, call: (at: string) => Promise<T>): Promise<T> {
    const whole = resolve(path);
    const name = basename(whole);
    return this.#directories.use(dirname(whole), (directory) => call(directory.at(name === '' ? '.' : name)));
  }

  /** Runs a call on an open descriptor of what a path names, be it a link, unless it is a file with other names. */
  #onItself(path: string, call: (self: string, stat: BigIntStats) => Promise<void>): Promise<void> {
    return this.#at(path, async (at) => {
      const descriptor = await openFile(at, O_PATH | O_NOFOLLOW);
      try {
        const stat = await statOf(descriptor);
        if (stat.isFile() && stat.nlink > 1n) throw this.#directories.refusal(path, otherNames(stat));
        await call(descriptorPath(descriptor), stat);
      } finally {
        fs.closeSync(descriptor);
      }
    });
  }

  async #openForWriting(
    path: string,
    at: string,
    flags: number,
    permissions = PERMISSIONS_DEFAULT,
  ): Promise<number> {
    try {
      return await openFile(at, flags, permissions);
    } catch (error) {
      // A FIFO that nobody reads, a socket, or a device without a driver.
      if (errnoOf(error) === 'ENXIO') throw this.#directories.refusal(path, 'it is a special file');
      throw error;
    }
  }

  async #expectOwnFile(path: string, descriptor: number, mode: OpenMode): Promise<void> {
    const stat = await statOf(descriptor);
    if (!stat.isFile()) throw this.#directories.refusal(path, 'it is a special file');
    if (stat.nlink > 1n) throw this.#directories.refusal(path, otherNames(stat));
    if (mode !== 'create' || stat.size === 0n) return;
    await success((done) => {
      fs.ftruncate(descriptor, 0, done);
    });
  }

  #isBelowNfsTop(path: string): boolean {
    for (const top of this.#nfsTops) {
      if (path === top || path.startsWith(`${top}/`)) return true;
    }
    return false;
  }

  async #isOnNfs(path: string, descriptor: number): Promise<boolean> {
    if (!this.#mayBeNfs || this.#syncedDirectories.has(path)) return false;
    const { dev } = await statOf(descriptor);
    if (await this.#isNfs(path, descriptor, dev)) return true;
    if (this.#syncedDirectories.size >= SYNCED_DIRECTORIES_MAX) this.#syncedDirectories.clear();
    this.#syncedDirectories.add(path);
    return false;
  }

  async #isNfs(path: string, descriptor: number, device: bigint): Promise<boolean> {
    if (this.#syncedDevices.has(device)) return false;
    const kind = fileSystemKind((await statfsAt(descriptorPath(descriptor))).type);
    if (semanticsOf(kind).directoryDurable !== 'on-return') {
      this.#syncedDevices.add(device);
      return false;
    }
    this.#nfsTops.add(await this.#topOfDevice(path, device));
    return true;
  }

  /** The highest ancestor of `path` on the same device. */
  async #topOfDevice(path: string, device: bigint): Promise<string> {
    let top = path;
    for (;;) {
      const above = dirname(top);
      const { dev } = await this.#directories.use(above, ({ descriptor }) => statOf(descriptor));
      if (above === top || dev !== device) return top;
      top = above;
    }
  }
}

function otherNames({ nlink }: BigIntStats): string {
  return `the file has ${String(nlink)} names (hard links), of which one is expected`;
}

/** What the mount table says of a device. */
async function mountOf(dev: bigint): Promise<{ readonly type: string; readonly options: string[] }> {
  const table = await result<string>((done) => {
    fs.readFile(MOUNT_TABLE, 'utf8', done);
  }).catch(() => '');
  const device = `${String(majorOf(dev))}:${String(minorOf(dev))}`;
  const line = table.split('\n').findLast((candidate) => candidate.split(' ')[2] === device);
  const [place = '', system = ''] = line?.split(' - ') ?? [];
  const [type = '', , shared = ''] = system.split(' ');
  const options = [...(place.split(' ')[5] ?? '').split(','), ...shared.split(',')];
  return { type, options: options.filter((option) => option !== '') };
}

/** As `major(3)` and `minor(3)` take a device's number apart. */
function majorOf(device: bigint): bigint {
  return ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n);
}

function minorOf(device: bigint): bigint {
  return (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
}

class NodeOpenFile implements OpenFile {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  async read(_site: CallSite, length: number, position: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    const bytesRead = await result<number>((done) => {
      fs.read(this.#descriptor, buffer, 0, length, position, done);
    });
    return buffer.subarray(0, bytesRead);
  }

  write(_site: CallSite, data: Uint8Array, position: number): Promise<number> {
    return result((done) => {
      fs.write(this.#descriptor, data, 0, data.length, position, done);
    });
  }

  async stat(_site: CallSite): Promise<FileStat> {
    return toFileStat(await statOf(this.#descriptor));
  }

  chown(_site: CallSite, uid: number, gid: number): Promise<void> {
    return success((done) => {
      fs.fchown(this.#descriptor, uid, gid, done);
    });
  }

  sync(): Promise<void> {
    return success((done) => {
      fs.fsync(this.#descriptor, done);
    });
  }

  close(): Promise<void> {
    return success((done) => {
      fs.close(this.#descriptor, done);
    });
  }
}

function toFileStat(stats: BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    size: Number(stats.size),
    mode: Number(stats.mode & PERMISSION_BITS),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    inode: stats.ino,
    links: Number(stats.nlink),
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
  };
}

function kindOf(stats: BigIntStats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isBlockDevice()) return 'block';
  return stats.isSymbolicLink() ? 'symlink' : 'other';
}

/** `Infinity` where a file system does not count them: it then says 0 of 0 (btrfs, MooseFS), or as many as a number can say (CephFS). */
export function countedInodes(total: number, free: number): number {
  return total === 0 || free > Number.MAX_SAFE_INTEGER ? Infinity : free;
}
