/**
 * write-trial-adapter: whether a user can write in a directory, found out by writing there as that user.
 *
 * A shell does it: it must be a program that every user can execute, and Node may lie in root's home. It
 * has no rights but that user's, so that whatever a name in the directory leads to is nothing to it.
 */
import { spawn } from 'node:child_process';

export type WriteTrial =
  { readonly kind: 'written'; readonly owner: number } | { readonly kind: 'refused'; readonly why: string };

const DEADLINE_MS = 10_000;
const SHELL = '/bin/sh';
/** What a killed trial leaves is taken for an unfinished marker, and removed, by `share init`. */
const NAME_PREFIX = '.tmp-marker-trial-';
const SCRIPT = `
  set -eC
  umask 077
  cd -P -- "$1"
  : >"$2"
  stat -c %u -- "$2"
  rm -f -- "$2"
`;

export interface TrialUser {
  readonly uid: number;
  readonly gid: number;
}

/** @returns whom the file belonged to that was made and removed, or why none could be made. Never fails. */
export function tryWriting(directory: string, { uid, gid }: TrialUser): Promise<WriteTrial> {
  const name = `${NAME_PREFIX}${String(process.pid)}`;
  return new Promise((resolve) => {
    const refused = (why: string): void => {
      resolve({ kind: 'refused', why });
    };
    const child = spawn(SHELL, ['-c', SCRIPT, SHELL, directory, name], {
      ...(uid === process.getuid?.() ? {} : { uid, gid }),
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // A hard mount does not let go of it: nobody waits for that.
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.unref();
      child.stdout.destroy();
      child.stderr.destroy();
      refused(`no answer within ${String(DEADLINE_MS / 1000)} s`);
    }, DEADLINE_MS);
    let said = '';
    let owner = '';
    child.stdout.on('data', (data: Buffer) => (owner += data.toString()));
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.on('error', ({ message }) => {
      clearTimeout(timer);
      refused(message);
    });
    child.on('close', (status) => {
      clearTimeout(timer);
      if (status === 0) resolve({ kind: 'written', owner: Number(owner.trim()) });
      else refused(said.trim().split(': ').at(-1) ?? `status ${String(status)}`);
    });
  });
}
