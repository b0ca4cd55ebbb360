/**
 * intercepting-filesystem: puts a function between the program and a file system; every call of the port, those on open files
 * included, goes through it. The crashing and the faulting file system are made of it.
 */
import {
  linkFree,
  type CallSite,
  type FileSystem,
  type OpenFile,
  type PathRefusal,
} from '../../src/model/filesystem.js';

export interface Call {
  readonly method: string;
  readonly site: CallSite;
  readonly path: string;
}

/** Passes the call on with `proceed`, or does something else. */
export type Interceptor = <T>(call: Call, proceed: () => Promise<T>) => Promise<T>;

export interface WriteCall extends Call {
  readonly data: Uint8Array;
}

/** Shortens the data of a write; what is cut off is not written. */
export type WriteLimiter = (call: WriteCall) => Uint8Array;

export function interceptFileSystem(
  inner: FileSystem,
  intercept: Interceptor,
  limit: WriteLimiter = ({ data }) => data,
): FileSystem {
  return {
    ...(inner.linkFree && {
      linkFree: (root: string, refusal: PathRefusal) =>
        interceptFileSystem(linkFree(inner, root, refusal), intercept, limit),
    }),
    open: async (site, path, mode, permissions) => {
      const file = await intercept({ method: 'open', site, path }, () =>
        inner.open(site, path, mode, permissions),
      );
      return interceptFile(file, path, intercept, limit);
    },
    readdir: (site, path) => intercept({ method: 'readdir', site, path }, () => inner.readdir(site, path)),
    lstat: (site, path) => intercept({ method: 'lstat', site, path }, () => inner.lstat(site, path)),
    readlink: (site, path) => intercept({ method: 'readlink', site, path }, () => inner.readlink(site, path)),
    symlink: (site, target, path) =>
      intercept({ method: 'symlink', site, path }, () => inner.symlink(site, target, path)),
    link: (site, existing, path) =>
      intercept({ method: 'link', site, path }, () => inner.link(site, existing, path)),
    rename: (site, from, to) =>
      intercept({ method: 'rename', site, path: to }, () => inner.rename(site, from, to)),
    unlink: (site, path) => intercept({ method: 'unlink', site, path }, () => inner.unlink(site, path)),
    mkdir: (site, path, permissions) =>
      intercept({ method: 'mkdir', site, path }, () => inner.mkdir(site, path, permissions)),
    rmdir: (site, path) => intercept({ method: 'rmdir', site, path }, () => inner.rmdir(site, path)),
    chmod: (site, path, permissions) =>
      intercept({ method: 'chmod', site, path }, () => inner.chmod(site, path, permissions)),
    chown: (site, path, uid, gid) =>
      intercept({ method: 'chown', site, path }, () => inner.chown(site, path, uid, gid)),
    syncDirectory: (site, path) =>
      intercept({ method: 'syncDirectory', site, path }, () => inner.syncDirectory(site, path)),
    statfs: (site, path) => intercept({ method: 'statfs', site, path }, () => inner.statfs(site, path)),
  };
}

function interceptFile(inner: OpenFile, path: string, intercept: Interceptor, limit: WriteLimiter): OpenFile {
  return {
    read: (site, length, position) =>
      intercept({ method: 'read', site, path }, () => inner.read(site, length, position)),
    write: (site, data, position) => {
      const call = { method: 'write', site, path };
      return intercept(call, () => inner.write(site, limit({ ...call, data }), position));
    },
    stat: (site) => intercept({ method: 'stat', site, path }, () => inner.stat(site)),
    chown: (site, uid, gid) => intercept({ method: 'fchown', site, path }, () => inner.chown(site, uid, gid)),
    sync: (site) => intercept({ method: 'sync', site, path }, () => inner.sync(site)),
    close: async (site) => {
      try {
        await intercept({ method: 'close', site, path }, () => Promise.resolve());
      } finally {
        // The descriptor is freed whatever close says, and whatever became of the process.
        await inner.close(site);
      }
    },
  };
}
