/**
 * confine-process: make this process fit to do the share's I/O and nothing else. Before anything touches the share.
 *
 *   P1 working directory `/`, umask 077
 *   P2 SIGINT, SIGTERM and SIGHUP are ignored: the parent decides when this process ends, and ends it by SIGKILL
 *   P3 a core dump of this process holds no memory, for it may hold TPM state (Node cannot set RLIMIT_CORE; the service does too, by `LimitCORE=0`)
 *   P4 groups, group, user: in this order, for without being root the first two can no longer be set
 */
import { writeFileSync } from 'node:fs';
import { MirrorError } from '../model/errors.js';

export interface Identity {
  /** 0 leaves it as it is. */
  readonly uid: number;
  readonly gid: number;
}

const UMASK = 0o077;

/**
 * @throws MirrorError `CONFIG_INVALID` when this process may not become `identity`
 */
export function confineProcess(identity: Identity): void {
  process.chdir('/');
  process.umask(UMASK);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  emptyCoreDumps();
  become(identity);
}

/** A core dump of this process holds no memory from now on. */
export function emptyCoreDumps(): void {
  try {
    writeFileSync('/proc/self/coredump_filter', '0');
  } catch {
    // A precaution beside `LimitCORE=0`: a kernel without it is no reason to leave the share unserved.
  }
}

function become({ uid, gid }: Identity): void {
  const { getuid, getgid, setgroups, setgid, setuid } = process;
  if (!getuid || !getgid || !setgroups || !setgid || !setuid) return;
  const isAlready = (uid === 0 || uid === getuid()) && (gid === 0 || gid === getgid());
  if (isAlready) return;
  try {
    setgroups(gid === 0 ? [] : [gid]);
    if (gid !== 0) setgid(gid);
    if (uid !== 0) setuid(uid);
  } catch (error) {
    const whom = `user ${String(uid)} and group ${String(gid)}`;
    throw new MirrorError('CONFIG_INVALID', `cannot become ${whom} as user ${String(getuid())}`, {
      next: 'run swtpm-mirror as root, or set `storage.uid` and `storage.gid` to 0 to work as the present user',
      cause: error,
    });
  }
}
