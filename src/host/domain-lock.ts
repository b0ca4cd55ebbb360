/**
 * domain-lock: one worker per domain, and one agent, on this host (proper-lockfile).
 *
 *   <state_dir>/locks/<uuid>.lock     the lock: a directory whose mtime its holder refreshes
 *   <state_dir>/locks/<uuid>.holder   who took it last, for the error message alone
 *
 * A holder that died leaves its lock for `STALE_MS`; a waiter that is given longer than that takes it over.
 * Not guaranteed: exclusion when two waiters find the same stale lock at the same moment, or when a holder was stopped for longer than
 * `STALE_MS` (it learns that from its signal). On the share nothing rests on these locks: there the log of the volume decides.
 */
import { lock } from 'proper-lockfile';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import type { DomainUuid } from '../model/identifiers.js';
import { ensureDirectories, readRegular } from './files.js';
import { orHostError } from './host-error.js';
import { FILE_MODE } from '../model/durable-file.js';

/** Age at which a lock that nobody refreshed may be taken. */
export const STALE_MS = 10_000;
const REFRESH_MS = 2_000;
const RETRY_MS = 100;
const HOLDER_BYTES_MAX = 1024;

export interface LockRequest {
  /** What the lock is for, shown to whoever meets it: `hook prepare`, `agent`. */
  readonly purpose: string;
  /** How long to wait for another holder; 0 for not at all. */
  readonly waitMs: number;
}

export interface HeldLock {
  /** Aborts with a `DOMAIN_BUSY` error if the lock was lost while it was held. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Runs `work` as this host's only worker on the domain.
 *
 * @param work is given a signal that aborts if the lock is lost meanwhile
 * @throws MirrorError `DOMAIN_BUSY` when another holds it for longer than `waitMs`; `HOST_IO`
 */
export async function withDomainLock<T>(
  context: { readonly fs: FileSystem; readonly stateDirectory: string },
  uuid: DomainUuid,
  request: LockRequest,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<T> {
  const { fs, stateDirectory } = context;
  const held = await orHostError(`lock domain ${uuid}`, async () => {
    const directory = await ensureDirectories(fs, 'lock', stateDirectory, 'locks');
    return holdLock(fs, `${directory}/${uuid}`, `domain ${uuid}`, request);
  });
  try {
    return await work(held.lost);
  } finally {
    await held.release();
  }
}

/**
 * Makes this process the only agent of this host.
 *
 * @throws MirrorError `DOMAIN_BUSY` when another agent runs; `HOST_IO`
 */
export async function holdAgentLock(
  context: { readonly fs: FileSystem; readonly runDirectory: string },
  request: LockRequest,
): Promise<HeldLock> {
  const { fs, runDirectory } = context;
  return orHostError('lock the agent of this host', () =>
    holdLock(fs, `${runDirectory}/agent`, 'the agent of this host', request),
  );
}

async function holdLock(
  fs: FileSystem,
  path: string,
  subject: string,
  { purpose, waitMs }: LockRequest,
): Promise<HeldLock> {
  const lost = new AbortController();
  let release: () => Promise<void>;
  try {
    release = await lock(path, {
      realpath: false,
      stale: STALE_MS,
      update: REFRESH_MS,
      retries: {
        retries: Math.ceil(waitMs / RETRY_MS),
        factor: 1,
        minTimeout: RETRY_MS,
        maxTimeout: RETRY_MS,
      },
      // The library's default throws out of a timer, which would end the process.
      onCompromised: () => {
        lost.abort(lostLock(subject));
      },
    });
  } catch (error) {
    if (errnoOf(error) !== 'ELOCKED') throw error;
    throw await busy(fs, path, subject);
  }
  await noteHolder(fs, path, purpose);
  return {
    lost: lost.signal,
    release: async () => {
      if (!lost.signal.aborted) await orHostError(`unlock ${subject}`, release);
    },
  };
}

async function noteHolder(fs: FileSystem, path: string, purpose: string): Promise<void> {
  const note = Buffer.from(`process ${process.pid} (${purpose})`);
  // Only the words of an error message hang on this note: the lock is held whether or not it can be written.
  try {
    const file = await fs.open('lock:open-holder', `${path}.holder`, 'create', FILE_MODE);
    await file.write('lock:write-holder', note, 0).finally(() => file.close('lock:close-holder'));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

async function busy(fs: FileSystem, path: string, subject: string): Promise<MirrorError> {
  const holder = await readRegular(fs, 'lock-holder', `${path}.holder`, HOLDER_BYTES_MAX).then(
    ({ data }) => Buffer.from(data).toString(),
    () => 'another process',
  );
  return new MirrorError('DOMAIN_BUSY', `cannot lock ${subject}: ${holder} holds it`, {
    next: `wait for it to end; a lock whose holder died is free after ${STALE_MS / 1000} s`,
    retriable: true,
  });
}

function lostLock(subject: string): MirrorError {
  return new MirrorError(
    'DOMAIN_BUSY',
    `lost the lock of ${subject}: it was not refreshed for ${STALE_MS / 1000} s`,
    {
      next: 'try again; if it happens often, look why this host stops processes for so long',
      retriable: true,
    },
  );
}
