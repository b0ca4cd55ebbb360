/**
 * storage-failures: the errors that the storage client itself gives, in its caller's terms.
 *
 * I1 `OUTCOME_UNKNOWN` is given for a commit that a storage process was told to do and did not answer, and for nothing else. Whatever was never
 *    sent changed nothing, and whatever commits nothing may simply be tried again.
 */
import { MirrorError } from '../model/errors.js';
import type { ErrorRecord } from '../model/errors.js';
import { commits } from './operations.js';
import type { ShareRequest } from './share-request.js';

const CHECK_SERVER =
  'check that the NFS server answers (`nfsstat -m`, `ls` on the mount); nothing is lost, it is tried again';
const SETTLED_LATER =
  'check that the NFS server answers (`nfsstat -m`, `ls` on the mount); the outcome is read from the share once it does';

/** Sent, and not answered in time. */
export function noAnswer(request: ShareRequest): MirrorError {
  const message = `${request.name} had no answer from the share within ${String(request.patienceMs)} ms`;
  return commits(request.operation) ? unknownOutcome(message) : retriable('SHARE_TIMEOUT', message);
}

/** Sent, and its process was ended for another request's sake before it answered. */
export function cutOff(request: ShareRequest): MirrorError {
  const message = `${request.name} was cut off: another operation of its storage process had no answer from the share in time`;
  return commits(request.operation) ? unknownOutcome(message) : retriable('SHARE_TIMEOUT', message);
}

/** Sent, and its process ended by itself before it answered. */
export function crashed(request: ShareRequest, how: string): MirrorError {
  const message = `${request.name} was cut off: the storage process ended (${how})`;
  if (commits(request.operation)) return unknownOutcome(message);
  return new MirrorError('SHARE_UNAVAILABLE', message, {
    next: 'nothing is lost, it is tried again; report it when it happens again',
    retriable: true,
  });
}

/** Never sent: its turn did not come in time. */
export function notBegun(request: ShareRequest, waiting: number): MirrorError {
  const waited = `${request.name} was not begun within ${String(request.allowanceMs)} ms`;
  return retriable('SHARE_TIMEOUT', `${waited}: ${String(waiting)} other requests are waiting for the share`);
}

export function queueFull(request: ShareRequest, whose: string, max: number): MirrorError {
  return retriable(
    'SHARE_UNAVAILABLE',
    `${request.name} was not begun: ${whose} is full (${String(max)} requests)`,
  );
}

export function processesStuck(name: string, stuck: number, max: number): MirrorError {
  const count = `${String(stuck)} of at most ${String(max)} storage processes are stuck in the share`;
  return new MirrorError('SHARE_UNAVAILABLE', `${name} was not begun: ${count}`, {
    next: 'bring the NFS server back, or give the dead mount up with `umount -f`: the stuck processes end by themselves then',
    retriable: true,
  });
}

export function backingOff(name: string, failures: number, waitMs: number): MirrorError {
  const history = `the storage process failed ${String(failures)} times in a row`;
  const message = `${name} was not begun: ${history}, the next one starts in ${String(Math.ceil(waitMs))} ms`;
  return retriable('SHARE_UNAVAILABLE', message);
}

export function closed(name: string): MirrorError {
  return new MirrorError('SHARE_UNAVAILABLE', `${name} was not begun: this program is ending`, {
    next: 'start it again; nothing is lost',
    retriable: true,
  });
}

/** The storage process ended, or could not be made, before it took requests. */
export function startFailed(why: string): MirrorError {
  return new MirrorError('SHARE_UNAVAILABLE', `cannot start the storage process: ${why}`, {
    next: 'check memory and process limits of this host and the installation of swtpm-mirror; it is tried again',
    retriable: true,
  });
}

/** The storage process itself said why it cannot work. */
export function refusedToStart(error: ErrorRecord): MirrorError {
  return MirrorError.fromRecord({ ...error, message: `cannot start the storage process: ${error.message}` });
}

function retriable(code: 'SHARE_TIMEOUT' | 'SHARE_UNAVAILABLE', message: string): MirrorError {
  return new MirrorError(code, message, { next: CHECK_SERVER, retriable: true });
}

function unknownOutcome(message: string): MirrorError {
  return new MirrorError('OUTCOME_UNKNOWN', `${message}, and may still take place`, {
    next: SETTLED_LATER,
    retriable: true,
  });
}
