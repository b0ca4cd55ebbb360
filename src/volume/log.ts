/**
 * log: reading a volume's log from the share.
 *
 * Slots are discovered by listing, because a listing is fresh where a look-up can be half a minute old; an entry's payload never
 * changes once it is there, so a cached one is as good as a fresh one. The log itself, and its volume, are names that were looked up, perhaps before they
 * were made: where one seems to be missing, the directory that it stands in is listed. The log is the unbroken run of slots from the top
 * down; what lies below a gap is a leftover of pruning, or an entry that arrived late, and means nothing.
 *
 * I1 No gap is read over. Commits take the next slot and pruning removes from the bottom, so a gap above the claim that settles the
 *    head is damage, or a cache that is behind its listing: read again, then refused, never guessed.
 * I2 Nor is an entry above the head that cannot be read: it may be the true head, or the claim that makes what follows count.
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import type { CallSite } from '../model/filesystem.js';
import { parseSlot, SLOT_MAX, type Slot } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import { parsePayload, type LogEntry } from '../model/log-entry.js';
import { readVolumeLog, type VolumeLog } from '../model/volume-log.js';
import { isGone } from './files.js';
import { slotPath, volumePaths, volumesPath, type ShareContext, type VolumePaths } from './share-context.js';

/** Payloads read side by side. */
const BATCH = 16;
const LOG_NAME = 'log';
/** Many times what any retention keeps: past it, reading the log would take as long as somebody likes. */
const ENTRIES_MAX = 65_536;
/** Nobody gets there by claiming once a second for three years; the room above is for what is under way. */
const TOP_MAX = SLOT_MAX - 1_000;
/** Readings of a log whose listing and look-ups disagree. */
const ATTEMPTS = 3;

/**
 * How much of the log is read: all of it, or from the top down to the claim that settles holder and head and at least to slot `since`.
 */
export type LogExtent = 'all' | { readonly since: Slot };

/** Far enough for holder and head. */
export const TOP_OF_LOG: LogExtent = { since: Number.MAX_SAFE_INTEGER };

/**
 * @returns `undefined` when there is no such volume, or one without any entry (its first claim never came to pass)
 * @throws MirrorError `VOLUME_DAMAGED` when the log has a gap or an unreadable entry above its head, or is gone although generations are there
 */
export async function readLog(
  context: ShareContext,
  uuid: DomainUuid,
  extent: LogExtent,
): Promise<VolumeLog | undefined> {
  const paths = volumePaths(context, uuid);
  for (let attempt = 1; ; attempt++) {
    const slots = await listSlots(context, uuid, paths);
    if (Array.isArray(slots) && slots.length === 0) {
      await refuseLostLog(context, uuid, paths);
      return undefined;
    }
    if (Array.isArray(slots) && (slots[0] ?? 0) > TOP_MAX) throw endedLog(uuid, paths, slots[0] ?? 0);
    const log = Array.isArray(slots) && (await readDownwards(context, paths, slots, extent));
    if (log) {
      refuseUnreadable(log, uuid, paths);
      return log;
    }
    if (attempt >= ATTEMPTS) throw slots === 'stale' ? staleLog(uuid) : gapInLog(uuid, paths);
  }
}

/**
 * @returns descending; `unseen` or `stale` when the log is there and a name on its path is still
 *   believed to be missing, or to be another directory: the listing above it ends that
 */
async function listSlots(
  context: ShareContext,
  uuid: DomainUuid,
  paths: VolumePaths,
): Promise<Slot[] | 'unseen' | 'stale'> {
  const { fs } = context;
  try {
    const slots = (await fs.readdir('log:readdir', paths.log)).map(parseSlot);
    if (slots.length > ENTRIES_MAX) throw crowdedLog(uuid, paths, slots.length);
    return slots.filter((slot) => slot !== undefined).sort((a, b) => b - a);
  } catch (error) {
    if (!isGone(error)) throw error;
    const inVolume = await namesIn(fs, 'log:readdir-volume', paths.root, isGone);
    const isThere = inVolume
      ? inVolume.includes(LOG_NAME)
      : // Where even this directory is stale, nothing is known of what the share holds.
        (await namesIn(fs, 'log:readdir-volumes', volumesPath(context), isMissing))?.includes(uuid);
    if (!isThere) return [];
    return errnoOf(error) === 'ESTALE' ? 'stale' : 'unseen';
  }
}

async function namesIn(
  fs: ShareContext['fs'],
  site: CallSite,
  path: string,
  isAbsence: (error: unknown) => boolean,
): Promise<readonly string[] | undefined> {
  try {
    return await fs.readdir(site, path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT';
}

/** @returns `undefined` when the run from the top ends before holder and head are settled */
async function readDownwards(
  context: ShareContext,
  paths: VolumePaths,
  slots: readonly Slot[],
  extent: LogExtent,
): Promise<VolumeLog | undefined> {
  const run: LogEntry[] = [];
  const top = slots[0] ?? 0;
  let unbroken = true;
  for (let at = 0; at < slots.length && unbroken; at += BATCH) {
    const batch = slots.slice(at, at + BATCH);
    for (const entry of await Promise.all(batch.map((slot) => readEntry(context, paths, slot)))) {
      unbroken &&= entry?.slot === top - run.length;
      if (unbroken && entry) run.push(entry);
    }
    const lowest = run.at(-1)?.slot ?? 0;
    if (extent !== 'all' && lowest <= extent.since && readVolumeLog(run).head) break;
  }
  const lowestClaim = run.findLast((entry) => entry.kind === 'claim')?.slot;
  if (lowestClaim === undefined) return undefined;
  const log = readVolumeLog(run.filter((entry) => entry.slot >= lowestClaim));
  // Pruning always leaves a head, so a log without one has lost nothing only if it reaches down to its first slot.
  return (log.head ?? run.at(-1)?.slot === 1) ? log : undefined;
}

async function readEntry(
  context: ShareContext,
  paths: VolumePaths,
  slot: Slot,
): Promise<LogEntry | undefined> {
  try {
    return parsePayload(slot, await context.fs.readlink('log:readlink', slotPath(paths, slot)));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return undefined;
    if (errno === 'EINVAL') return { kind: 'unknown', slot, payload: '' };
    throw error;
  }
}

async function refuseLostLog({ fs }: ShareContext, uuid: DomainUuid, paths: VolumePaths): Promise<void> {
  try {
    if ((await fs.readdir('log:readdir-gen', paths.gen)).length === 0) return;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new MirrorError('VOLUME_DAMAGED', `the log of volume ${uuid} is empty, but generations are there`, {
    next: `restore ${paths.log} from a backup of the share, or look at the archives in ${paths.gen} (tar xf)`,
  });
}

function refuseUnreadable(log: VolumeLog, uuid: DomainUuid, paths: VolumePaths): void {
  const unreadable = log.entries.findLast((entry) => entry.kind === 'unknown');
  if (!unreadable || unreadable.slot < (log.head?.slot ?? 0)) return;
  throw new MirrorError(
    'VOLUME_DAMAGED',
    `slot ${String(unreadable.slot)} of the log of volume ${uuid} cannot be read`,
    {
      next: `compare \`ls -l ${paths.log}\` with a backup of the share and put the right link back`,
    },
  );
}

function endedLog(uuid: DomainUuid, paths: VolumePaths, top: Slot): MirrorError {
  return new MirrorError(
    'VOLUME_DAMAGED',
    `the log of volume ${uuid} has an entry in slot ${String(top)}, after which there is hardly another`,
    {
      next: `see with \`ls -l ${paths.log}\` what was put there past swtpm-mirror, and take it out`,
    },
  );
}

function crowdedLog(uuid: DomainUuid, paths: VolumePaths, count: number): MirrorError {
  return new MirrorError(
    'VOLUME_DAMAGED',
    `the log of volume ${uuid} has ${String(count)} entries, expected at most ${String(ENTRIES_MAX)}`,
    { next: `see what somebody else put into ${paths.log}, and take it out` },
  );
}

function staleLog(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'SHARE_UNAVAILABLE',
    `cannot read the log of volume ${uuid}: ESTALE: the share knows the directory no more`,
    { next: 'nothing: it is tried again; if it stays, mount the share anew', retriable: true },
  );
}

function gapInLog(uuid: DomainUuid, paths: VolumePaths): MirrorError {
  return new MirrorError('VOLUME_DAMAGED', `the log of volume ${uuid} has a gap above its head`, {
    next: `compare \`ls -l ${paths.log}\` with a backup of the share and put the missing links back`,
  });
}
