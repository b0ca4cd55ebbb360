/**
 * domain-lock: one worker per domain, and one agent, on this host (proper-lockfile).
 *
 *   <state_dir>/locks/<uuid>.lock     the lock: a directory whose mtime its holder refreshes
 *   <state_dir>/locks/<uuid>.holder   who took it last, for the error message alone
 *
 * A holder that died leaves its lock for `STALE_MS`; a waiter that is given longer than that takes it over. Where this host's clock was set back since,
 * the library would find such a lock young for as long as the clock is behind: a waiter that sees a time to come stand still for `STALE_MS` takes it, too.
 * Not guaranteed: exclusion when two waiters find the same stale lock at the same moment, or when a holder was stopped for longer than
 * `STALE_MS` (it learns that from its signal). On the share nothing rests on these locks: there the log of the volume decides.
 */
import { lock, type LockOptions } from 'proper-lockfile';
import { sleep, type Clock } from '../model/environment.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import type { DomainUuid } from '../model/identifiers.js';
import { ensureDirectories, ifAny, lstatIfAny, readRegular } from './files.js';
import { orHostError } from './host-error.js';
import { orFromReserve } from './reserve.js';
import { FILE_MODE } from '../model/durable-file.js';

/** Age at which a lock that nobody refreshed may be taken. */
export const STALE_MS = 10_000;
const REFRESH_MS = 2_000;
const RETRY_MS = 100;
const HOLDER_BYTES_MAX = 1024;
const NS_PER_MS = 1_000_000n;

export interface LockContext {
  readonly fs: FileSystem;
  readonly clock: Clock;
}

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
  context: LockContext & { readonly stateDirectory: string },
  uuid: DomainUuid,
  request: LockRequest,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<T> {
  const held = await orHostError(`lock domain ${uuid}`, () =>
    orFromReserve(context, async () => {
      const directory = await ensureDirectories(context.fs, 'lock', context.stateDirectory, 'locks');
      return holdLock(context, `${directory}/${uuid}`, `domain ${uuid}`, request);
    }),
  );
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
  context: LockContext & { readonly runDirectory: string },
  request: LockRequest,
): Promise<HeldLock> {
  return orHostError('lock the agent of this host', () =>
    holdLock(context, `${context.runDirectory}/agent`, 'the agent of this host', request),
  );
}

async function holdLock(
  context: LockContext,
  path: string,
  subject: string,
  { purpose, waitMs }: LockRequest,
): Promise<HeldLock> {
  const lost = new AbortController();
  let release: () => Promise<void>;
  try {
    release = await take(context, path, waitMs, {
      realpath: false,
      stale: STALE_MS,
      update: REFRESH_MS,
      // The library's default throws out of a timer, which would end the process.
      onCompromised: () => {
        lost.abort(lostLock(subject));
      },
    });
  } catch (error) {
    if (errnoOf(error) !== 'ELOCKED') throw error;
    throw await busy(context.fs, path, subject);
  }
  await noteHolder(context.fs, path, purpose);
  return {
    lost: lost.signal,
    release: async () => {
      if (!lost.signal.aborted) await orHostError(`unlock ${subject}`, release);
    },
  };
}

/** Waits for another holder, and for nothing else: whatever keeps a lock from being made is told at once. */
async function take(
  context: LockContext,
  path: string,
  waitMs: number,
  options: LockOptions,
): Promise<() => Promise<void>> {
  const endMs = context.clock.monotonicMs() + waitMs;
  let seen: Sighting | undefined;
  for (;;) {
    try {
      return await lock(path, options);
    } catch (error) {
      if (errnoOf(error) !== 'ELOCKED' || context.clock.monotonicMs() >= endMs) throw error;
    }
    seen = await freeIfLeftInTheFuture(context, `${path}.lock`, seen);
    await sleep(context.clock, RETRY_MS);
  }
}

interface Sighting {
  readonly mtimeNs: bigint;
  readonly firstSeenMs: number;
}

/** A holder that lives sets the time of its lock to now every `REFRESH_MS`, wherever the clock has gone. */
async function freeIfLeftInTheFuture(
  { fs, clock }: LockContext,
  path: string,
  seen: Sighting | undefined,
): Promise<Sighting | undefined> {
  const mtimeNs = (await lstatIfAny(fs, 'lock:lstat', path))?.mtimeNs ?? 0n;
  if (Number(mtimeNs / NS_PER_MS) <= clock.nowMs()) return undefined;
  if (mtimeNs !== seen?.mtimeNs) return { mtimeNs, firstSeenMs: clock.monotonicMs() };
  if (clock.monotonicMs() - seen.firstSeenMs < STALE_MS) return seen;
  await ifAny(() => fs.rmdir('lock:rmdir', path));
  return undefined;
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
