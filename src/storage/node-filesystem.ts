/**
 * node-filesystem: the `FileSystem` port on the real system calls.
 *
 * Every open carries `O_NOFOLLOW`, so that a link planted where a file is expected is an error (`ELOOP`) and never a way out of
 * the directory. A `read` carries `O_NONBLOCK` too: a FIFO in a file's place must not hang us. libuv adds `O_CLOEXEC` to every open.
 *
 * `syncDirectory` costs no request on NFS. The mount is judged once: the first directory seen on a device is asked for its file system, and if
 * that is NFS, the top of the mount is found by walking up to where the device changes. From then on a path below that top is known by its
 * prefix alone.
 * Not guaranteed: that a mount exchanged under the same path, while the process lives, is judged anew.
 */
import { constants, type BigIntStats } from 'node:fs';
import * as fs from 'node:fs/promises';
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

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;

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

export class NodeFileSystem implements FileSystem {
  /** Tops of the NFS mounts met so far. */
  readonly #nfsTops = new Set<string>();
  /** Devices known to be something else than NFS. */
  readonly #syncedDevices = new Set<bigint>();

  async open(_site: CallSite, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile> {
    return new NodeOpenFile(await fs.open(path, OPEN_FLAGS[mode], permissions ?? PERMISSIONS_DEFAULT));
  }

  readdir(_site: CallSite, path: string): Promise<string[]> {
    return fs.readdir(path);
  }

  async lstat(_site: CallSite, path: string): Promise<FileStat> {
    return toFileStat(await fs.lstat(path, { bigint: true }));
  }

  readlink(_site: CallSite, path: string): Promise<string> {
    return fs.readlink(path);
  }

  symlink(_site: CallSite, target: string, path: string): Promise<void> {
    return fs.symlink(target, path);
  }

  link(_site: CallSite, existing: string, path: string): Promise<void> {
    return fs.link(existing, path);
  }

  rename(_site: CallSite, from: string, to: string): Promise<void> {
    return fs.rename(from, to);
  }

  unlink(_site: CallSite, path: string): Promise<void> {
    return fs.unlink(path);
  }

  mkdir(_site: CallSite, path: string, permissions: number): Promise<void> {
    return fs.mkdir(path, { mode: permissions }).then(() => undefined);
  }

  rmdir(_site: CallSite, path: string): Promise<void> {
    return fs.rmdir(path);
  }

  chmod(_site: CallSite, path: string, permissions: number): Promise<void> {
    return fs.chmod(path, permissions);
  }

  chown(_site: CallSite, path: string, uid: number, gid: number): Promise<void> {
    return fs.lchown(path, uid, gid);
  }

  async syncDirectory(_site: CallSite, path: string): Promise<void> {
    if (this.#isBelowNfsTop(path)) return;
    const directory = await fs.open(path, O_RDONLY | O_DIRECTORY);
    try {
      const { dev } = await directory.stat({ bigint: true });
      if (await this.#isNfs(path, dev)) return;
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  async statfs(_site: CallSite, path: string): Promise<FileSystemSpace> {
    const { type, bsize, bavail, blocks, ffree } = await fs.statfs(path);
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

  async #isNfs(path: string, device: bigint): Promise<boolean> {
    if (this.#syncedDevices.has(device)) return false;
    if ((await fs.statfs(path)).type !== NFS_MAGIC) {
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
  while (dirname(top) !== top && (await fs.stat(dirname(top), { bigint: true })).dev === device) {
    top = dirname(top);
  }
  return top;
}

class NodeOpenFile implements OpenFile {
  readonly #handle: fs.FileHandle;

  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async read(_site: CallSite, length: number, position: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position);
    return buffer.subarray(0, bytesRead);
  }

  async write(_site: CallSite, data: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.write(data, 0, data.length, position)).bytesWritten;
  }

  async stat(_site: CallSite): Promise<FileStat> {
    return toFileStat(await this.#handle.stat({ bigint: true }));
  }

  sync(_site: CallSite): Promise<void> {
    return this.#handle.sync();
  }

  close(_site: CallSite): Promise<void> {
    return this.#handle.close();
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
