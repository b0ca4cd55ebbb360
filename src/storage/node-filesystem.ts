/**
 * node-filesystem: the `FileSystem` port on the real system calls.
 *
 * Every open carries `O_NOFOLLOW`, so that a link planted where a file is expected is an error (`ELOOP`) and never a way out of
 * the directory. A `read` carries `O_NONBLOCK` too: a FIFO in a file's place must not hang us. libuv adds `O_CLOEXEC` to every open.
 *
 * `syncDirectory` costs no request on NFS. The mount is judged once: the first directory seen on a device is asked for its file system, and if
 * that is NFS, the top of the mount is found by walking up to where the device changes. From then on a path below that top is known by its
 * prefix alone. On a host's own disks, of which none is NFS, that question would be a call more for each directory.
 *
 * A call goes to a thread and back, which costs many times what the system itself takes for it. `node:fs/promises` adds a fifth to that (an object for
 * every open file, a promise more for every call), so the calls are made through `node:fs`.
 * Not guaranteed: that a mount exchanged under the same path, while the process lives, is judged anew.
 */
import * as fs from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { dirname } from 'node:path';
import type {
  CallSite,
  FileKind,
  FileStat,
  FileSystem,
  FileSystemSpace,
  OpenFile,
  OpenMode,
} from '../model/filesystem.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = fs.constants;

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
  create: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
  'create-exclusive': O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
  overwrite: O_WRONLY | O_CREAT | O_NOFOLLOW,
};

const PERMISSIONS_DEFAULT = 0o600;
const PERMISSION_BITS = 0o7777n;
/** `NFS_SUPER_MAGIC` in `statfs(2)`. */
const NFS_MAGIC = 0x6969;
/** Two of each of so many volumes are synced again and again. */
const SYNCED_DIRECTORIES_MAX = 8192;

export interface NodeFileSystemOptions {
  /** Whether a directory may lie on NFS, where it need not be synced. @default true */
  readonly mayBeNfs?: boolean;
}

export class NodeFileSystem implements FileSystem {
  readonly #mayBeNfs: boolean;
  /** Tops of the NFS mounts met so far. */
  readonly #nfsTops = new Set<string>();
  /** Devices known to be something else than NFS. */
  readonly #syncedDevices = new Set<bigint>();
  /** Directories found on one of those: they are synced without being asked again, which is right whatever is mounted there later. */
  readonly #syncedDirectories = new Set<string>();

  constructor({ mayBeNfs = true }: NodeFileSystemOptions = {}) {
    this.#mayBeNfs = mayBeNfs;
  }

  async open(_site: CallSite, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile> {
    const flags = OPEN_FLAGS[mode];
    return new NodeOpenFile(
      await result<number>((done) => {
        fs.open(path, flags, permissions ?? PERMISSIONS_DEFAULT, done);
      }),
    );
  }

  readdir(_site: CallSite, path: string): Promise<string[]> {
    return result((done) => {
      fs.readdir(path, done);
    });
  }

  async lstat(_site: CallSite, path: string): Promise<FileStat> {
    return toFileStat(
      await result<BigIntStats>((done) => {
        fs.lstat(path, { bigint: true }, done);
      }),
    );
  }

  readlink(_site: CallSite, path: string): Promise<string> {
    return result((done) => {
      fs.readlink(path, done);
    });
  }

  symlink(_site: CallSite, target: string, path: string): Promise<void> {
    return success((done) => {
      fs.symlink(target, path, done);
    });
  }

  link(_site: CallSite, existing: string, path: string): Promise<void> {
    return success((done) => {
      fs.link(existing, path, done);
    });
  }

  rename(_site: CallSite, from: string, to: string): Promise<void> {
    return success((done) => {
      fs.rename(from, to, done);
    });
  }

  unlink(_site: CallSite, path: string): Promise<void> {
    return success((done) => {
      fs.unlink(path, done);
    });
  }

  mkdir(_site: CallSite, path: string, permissions: number): Promise<void> {
    return success((done) => {
      fs.mkdir(path, permissions, done);
    });
  }

  rmdir(_site: CallSite, path: string): Promise<void> {
    return success((done) => {
      fs.rmdir(path, done);
    });
  }

  chmod(_site: CallSite, path: string, permissions: number): Promise<void> {
    return success((done) => {
      fs.chmod(path, permissions, done);
    });
  }

  chown(_site: CallSite, path: string, uid: number, gid: number): Promise<void> {
    return success((done) => {
      fs.lchown(path, uid, gid, done);
    });
  }

  async syncDirectory(_site: CallSite, path: string): Promise<void> {
    if (this.#isBelowNfsTop(path)) return;
    const descriptor = await result<number>((done) => {
      fs.open(path, O_RDONLY | O_DIRECTORY, done);
    });
    const directory = new NodeOpenFile(descriptor);
    try {
      if (await this.#isOnNfs(path, descriptor)) return;
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  async statfs(_site: CallSite, path: string): Promise<FileSystemSpace> {
    const { type, bsize, bavail, blocks, ffree } = await statfs(path);
    return {
      availableBytes: bavail * bsize,
      totalBytes: blocks * bsize,
      availableInodes: ffree,
      isNfs: type === NFS_MAGIC,
    };
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
    if (await this.#isNfs(path, dev)) return true;
    if (this.#syncedDirectories.size >= SYNCED_DIRECTORIES_MAX) this.#syncedDirectories.clear();
    this.#syncedDirectories.add(path);
    return false;
  }

  async #isNfs(path: string, device: bigint): Promise<boolean> {
    if (this.#syncedDevices.has(device)) return false;
    if ((await statfs(path)).type !== NFS_MAGIC) {
      this.#syncedDevices.add(device);
      return false;
    }
    this.#nfsTops.add(await topOfDevice(path, device));
    return true;
  }
}

/** The highest ancestor of `path` on the same device. */
async function topOfDevice(path: string, device: bigint): Promise<string> {
  let top = path;
  for (;;) {
    const above = dirname(top);
    const { dev } = await result<BigIntStats>((done) => {
      fs.stat(above, { bigint: true }, done);
    });
    if (above === top || dev !== device) return top;
    top = above;
  }
}

function statOf(descriptor: number): Promise<BigIntStats> {
  return result((done) => {
    fs.fstat(descriptor, { bigint: true }, done);
  });
}

function statfs(path: string): Promise<fs.StatsFs> {
  return result((done) => {
    fs.statfs(path, done);
  });
}

/** What a call gives. */
function result<Result>(
  call: (done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** For a call that gives nothing. */
function success(call: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error) => {
      if (error) reject(error);
      else resolve();
    });
  });
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
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
  };
}

function kindOf(stats: BigIntStats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'other';
}
