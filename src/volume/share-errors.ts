/**
 * share-errors: what a system error of the share means to the operator.
 *
 * The one place that turns an `errno` of share I/O into a `MirrorError`. A caller handles the errors that it expects first (an absent
 * slot, a slot that is taken) and passes on the rest, so an `ENOENT` that arrives here is a directory that ought to be there.
 *
 * Retriable is an allow-list: an error that is not known is not tried again.
 */
import { asMirrorError, errnoOf, MirrorError, type ErrorCode } from '../model/errors.js';

interface Meaning {
  readonly code: ErrorCode;
  readonly retriable: boolean;
  readonly next: string;
}

const FULL: Meaning = {
  code: 'SHARE_FULL',
  retriable: true,
  next: 'free space or inodes on the share, or raise its quota; nothing is lost, it is tried again',
};

const DENIED: Meaning = {
  code: 'SHARE_DENIED',
  retriable: false,
  next: 'let this host write as `storage.uid` and `storage.gid`: check the owner of the share, its export options (`rw`, `root_squash`) and the mount (`ro`)',
};

const AWAY: Meaning = {
  code: 'SHARE_UNAVAILABLE',
  retriable: true,
  next: 'check that the storage answers (`ls` on the mount, and for NFS `nfsstat -m`); nothing is lost, it is tried again',
};

const NOT_MOUNTED: Meaning = {
  code: 'SHARE_UNAVAILABLE',
  retriable: true,
  next: 'check that the share is mounted at the configured path (`findmnt`), and that nothing was removed from it',
};

const UNSUITABLE: Meaning = {
  code: 'SHARE_UNAVAILABLE',
  retriable: false,
  next: 'run `swtpm-mirror doctor`: the file system must have symbolic links, hard links and names of 255 bytes',
};

const DISORDER: Meaning = {
  code: 'VOLUME_DAMAGED',
  retriable: false,
  next: 'look at the path that the message names: something other than swtpm-mirror put it there',
};

const HOST_SHORT: Meaning = {
  code: 'HOST_IO',
  retriable: true,
  next: 'free memory or raise the limit of open files of this host (`LimitNOFILE=` of the service)',
};

const UNKNOWN: Meaning = {
  code: 'SHARE_UNAVAILABLE',
  retriable: false,
  next: 'run `swtpm-mirror doctor` and look for NFS messages in the kernel log (`dmesg`)',
};

const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ...all(FULL, ['ENOSPC', 'EDQUOT']),
  ...all(DENIED, ['EACCES', 'EPERM', 'EROFS']),
  ...all(AWAY, ['ESTALE', 'EIO', 'EREMOTEIO', 'ETIMEDOUT', 'ENXIO', 'EAGAIN', 'EBUSY', 'EINTR', 'ENOLCK']),
  ...all(AWAY, ['EHOSTDOWN', 'EHOSTUNREACH', 'ENETDOWN', 'ENETUNREACH', 'ESHUTDOWN', 'EPIPE']),
  ...all(AWAY, ['ENOTCONN', 'ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED']),
  ...all(NOT_MOUNTED, ['ENOENT', 'ENODEV']),
  ...all(UNSUITABLE, [
    'ENAMETOOLONG',
    'EINVAL',
    'ENOSYS',
    'ENOTSUP',
    'EOPNOTSUPP',
    'EMLINK',
    'EXDEV',
    'EFBIG',
  ]),
  ...all(DISORDER, ['ENOTDIR', 'EISDIR', 'ELOOP', 'ENOTEMPTY', 'EEXIST']),
  ...all(HOST_SHORT, ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS']),
]);

function all(meaning: Meaning, codes: readonly string[]): [string, Meaning][] {
  return codes.map((code) => [code, meaning]);
}

/**
 * Any error of work on the share as a `MirrorError`; one that is a `MirrorError` already is returned unchanged.
 *
 * @param action completes "cannot …", e.g. `read the share marker`
 */
export function shareError(action: string, error: unknown): MirrorError {
  const errno = errnoOf(error);
  if (error instanceof MirrorError || errno === undefined) return asMirrorError(error);
  const { code, retriable, next } = MEANINGS.get(errno) ?? UNKNOWN;
  return new MirrorError(code, `cannot ${action}: ${describe(errno, error)}`, {
    next,
    retriable,
    cause: error,
  });
}

/** `ENOSPC: no space left on device, write`: the system's own words, its name for the error always first. */
function describe(errno: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.startsWith(errno) ? text : `${errno}: ${text}`;
}
