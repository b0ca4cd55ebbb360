/**
 * filesystem: the port through which every file of a host or a share is touched.
 *
 * One method is one system call (a method that joined two would hide a crash point), and every call names its call site with
 * a label such as `publish:rename`, so that a test can fail or crash exactly that call. Failures are
 * `NodeJS.ErrnoException`s with the system's own `code`, or a `MirrorError` (`SHARE_TAMPERED`, `HOST_TAMPERED`) where the real one refuses to go
 * through what somebody put in its way.
 *
 * Implementations: `storage/node-filesystem.ts` (the real one) and the simulated disks and NFS clients of the tests; one conformance
 * suite runs against all of them.
 */
import type { FileSystemKind } from './share-semantics.js';

/** Where a call stands in the code: `operation:step`, e.g. `publish:rename`. */
export type CallSite = `${string}:${string}`;

export type FileKind = 'file' | 'directory' | 'symlink' | 'block' | 'other';

export interface FileStat {
  readonly kind: FileKind;
  /** Bytes. */
  readonly size: number;
  /** Permission bits only, e.g. `0o600`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  /** Names of a file: more than one when it has hard links. */
  readonly links: number;
  readonly mtimeNs: bigint;
  /** Of the last change of content, names or attributes; no call can set it. */
  readonly ctimeNs: bigint;
}

/**
 * How a file is opened: `read` (never follows a symbolic link in the last component), `create` (made if missing, emptied if
 * present: for names unique by construction), `create-exclusive` (`O_EXCL`), `overwrite` (made if missing, kept if present: written
 * in place from offset 0).
 */
export type OpenMode = 'read' | 'create' | 'create-exclusive' | 'overwrite';

/** Codes of the errors for a path that is not gone through. */
export type PathRefusal = 'SHARE_TAMPERED' | 'HOST_TAMPERED';

export interface OpenFile {
  /** Reads up to `length` bytes at `position`; fewer at the end of the file. */
  read(site: CallSite, length: number, position: number): Promise<Uint8Array>;
  /** One `pwrite`: the number of bytes that were written, which may be fewer than asked. */
  write(site: CallSite, data: Uint8Array, position: number): Promise<number>;
  stat(site: CallSite): Promise<FileStat>;
  /** `fchown(2)`: of this very file, whatever its name is by now. */
  chown(site: CallSite, uid: number, gid: number): Promise<void>;
  /** `fsync`. After a failure the data may be gone although a second call succeeds: write a new file instead. */
  sync(site: CallSite): Promise<void>;
  /** Frees the descriptor even when it fails; a late `ENOSPC` or `EIO` can arrive here. */
  close(site: CallSite): Promise<void>;
}

export interface FileSystemSpace {
  /** Bytes available to this process. */
  readonly availableBytes: number;
  readonly totalBytes: number;
  /** `Infinity` where the file system does not count them. */
  readonly availableInodes: number;
  /** What it is, as `share-semantics.ts` knows it. */
  readonly kind: FileSystemKind;
  /** Of its mount, as the kernel lists them; none where that cannot be told. */
  readonly mountOptions: readonly string[];
}

export interface FileSystem {
  /**
   * The same files, but below `root` no symbolic link is followed, whoever made it; one is told with the code `refusal`. Simulated ones need none: nobody plants
   * links there.
   */
  linkFree?(root: string, refusal: PathRefusal): FileSystem;
  open(site: CallSite, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile>;
  /** Names in no particular order, without `.` and `..`. */
  readdir(site: CallSite, path: string): Promise<string[]>;
  lstat(site: CallSite, path: string): Promise<FileStat>;
  readlink(site: CallSite, path: string): Promise<string>;
  /** `symlink(2)`: exclusive and atomic; `EEXIST` when `path` exists. */
  symlink(site: CallSite, target: string, path: string): Promise<void>;
  link(site: CallSite, existing: string, path: string): Promise<void>;
  rename(site: CallSite, from: string, to: string): Promise<void>;
  unlink(site: CallSite, path: string): Promise<void>;
  mkdir(site: CallSite, path: string, permissions: number): Promise<void>;
  rmdir(site: CallSite, path: string): Promise<void>;
  chmod(site: CallSite, path: string, permissions: number): Promise<void>;
  /** `lchown(2)`: never follows a symbolic link. */
  chown(site: CallSite, path: string, uid: number, gid: number): Promise<void>;
  /** fsync of a directory; nothing to do where directory operations are durable when they return. */
  syncDirectory(site: CallSite, path: string): Promise<void>;
  statfs(site: CallSite, path: string): Promise<FileSystemSpace>;
}

/** `fs` without links below `root`: for a tree in which others can write. */
export function linkFree(fs: FileSystem, root: string, refusal: PathRefusal): FileSystem {
  return fs.linkFree?.(root, refusal) ?? fs;
}
