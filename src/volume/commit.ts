/**
 * commit: put one entry into one slot, exclusively, or learn who was there first.
 *
 *   P1 symlink(payload, slot)   one RPC: atomic, exclusive, carrying its own payload
 *   P2 after ANY error: read the slot
 *        our payload      it happened: a lost reply looks like an error
 *        another payload  we lost, and never continue on a guess
 *        absent           the identical call again, a bounded number of times
 *   P3 sync the log directory (nothing to do on NFS, where the entry is durable when it is there)
 *
 * I1 `committed` means durable and readable by everybody (P3 before we return).
 * I2 The payload carries a token that no other attempt of anybody carries, so "ours" is never mistaken.
 * I3 When this gives up after an ambiguous error, it says OUTCOME_UNKNOWN: the symlink may still be under way. Who goes on must
 *    compete for this very slot again, never for the next one.
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
import { formatPayload, parsePayload, type LogEntry, type UnknownEntry } from '../model/log-entry.js';
import type { CallSite } from '../model/filesystem.js';
import { shareError } from './share-errors.js';
import { slotPath, type ShareContext, type VolumePaths } from './share-context.js';

export type SlotOutcome =
  { readonly kind: 'committed' } | { readonly kind: 'taken'; readonly entry: LogEntry };

const ATTEMPTS = 3;

/**
 * Errors that the file system gives only before it did anything: with one of these, and an empty
 * slot, nothing is under way. A share that has no symbolic links at all is told by the last three.
 */
const DEFINITE = new Set([
  'ENOSPC',
  'EDQUOT',
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOENT',
  'ENOTDIR',
  'ENAMETOOLONG',
  'EMLINK',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
]);

/**
 * @param operation prefix of the call sites, e.g. `publish`
 * @throws MirrorError `OUTCOME_UNKNOWN`, or a `SHARE_*` error when it is certain that nothing happened
 */
export async function commit(
  context: ShareContext,
  operation: string,
  paths: VolumePaths,
  entry: Exclude<LogEntry, UnknownEntry>,
): Promise<SlotOutcome> {
  const payload = formatPayload(entry);
  const path = slotPath(paths, entry.slot);
  let doubt: unknown;
  for (let attempt = 1; ; attempt++) {
    try {
      await context.fs.symlink(`${operation}:symlink`, payload, path);
      break;
    } catch (error) {
      // The file system itself refuses the way there, before anything is asked of the share.
      if (error instanceof MirrorError && doubt === undefined) throw error;
      if (!DEFINITE.has(errnoOf(error) ?? '') && errnoOf(error) !== 'EEXIST') doubt = error;
      const found = await readAfterError(context, operation, paths, entry.slot, error);
      if (found === payload) break;
      if (found !== undefined) return { kind: 'taken', entry: parsePayload(entry.slot, found) };
      if (attempt >= ATTEMPTS) throw givenUp(operation, entry.slot, doubt, error);
    }
  }
  try {
    await context.fs.syncDirectory(`${operation}:sync-log`, paths.log);
  } catch (error) {
    throw unknownOutcome(operation, entry.slot, error);
  }
  return { kind: 'committed' };
}

/** The slot's payload, `undefined` when it is empty. */
async function readAfterError(
  { fs }: ShareContext,
  operation: string,
  paths: VolumePaths,
  slot: Slot,
  cause: unknown,
): Promise<string | undefined> {
  const site: CallSite = `${operation}:readlink`;
  try {
    return await fs.readlink(site, slotPath(paths, slot));
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return '';
    if (errnoOf(error) !== 'ENOENT') throw unknownOutcome(operation, slot, error);
  }
  if (errnoOf(cause) !== 'EEXIST') return undefined;
  // The name may be cached as missing from before; a listing is fresh and makes the next look-up fresh too.
  try {
    await fs.readdir(`${operation}:readdir`, paths.log);
    return await fs.readlink(site, slotPath(paths, slot));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw unknownOutcome(operation, slot, error);
  }
}

function givenUp(operation: string, slot: Slot, doubt: unknown, error: unknown): MirrorError {
  const definite = doubt === undefined && errnoOf(error) !== 'EEXIST';
  return definite
    ? shareError(`${operation} in slot ${String(slot)}`, error)
    : unknownOutcome(operation, slot, doubt ?? error);
}

/** For a commit of which it cannot be said whether it took place, or will. */
export function unknownOutcome(operation: string, slot: Slot, cause: unknown): MirrorError {
  const errno = errnoOf(cause) ?? 'an error';
  return new MirrorError(
    'OUTCOME_UNKNOWN',
    `the share answered ${errno} to the ${operation} in slot ${String(slot)}, which may still take place`,
    { next: 'nothing to do: the slot is read again as soon as the share answers', retriable: true, cause },
  );
}
