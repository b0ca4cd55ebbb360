/**
 * volume-log: what a volume's log means. Pure: entries in, holder and head out.
 *
 * The log is read as a sequence of epochs. A claim opens an epoch and ends the one before it; the epoch's number is the slot of its
 * claim. A publish counts if its epoch is the one open at its slot, and its host the one that claimed it; any other publish is diverged,
 * whoever wrote it. (The host matters after a purge only: an epoch of the volume that was made anew may have the number of an earlier one.)
 *
 * I1 Appending an entry never changes the meaning of an entry below it.
 * I2 Removing a prefix of the log changes nothing above the first claim that remains: an epoch's meaning rests on its own
 *    claim alone. That is why pruning removes whole epochs from the bottom and never a single generation of one that stays
 *    (a late claim that lands in a hole would otherwise disown everything published above it).
 * I3 An entry that appears late, in a slot below the first claim that remains, changes nothing above it.
 */
import type { GenerationName, Slot } from './generation-name.js';
import { isOwn, isSameHost, type Author, type Self } from './host-identity.js';
import type { HostName } from './identifiers.js';
import {
  HANDED_OVER,
  type ClaimEntry,
  type ClosingEntry,
  type LogEntry,
  type PublishEntry,
} from './log-entry.js';

export interface Holder extends Author {
  readonly epoch: Slot;
  readonly token: string;
  readonly claimedAt: string;
  readonly reason: string;
}

export interface VolumeLog {
  /** Ascending by slot. */
  readonly entries: readonly LogEntry[];
  /** Highest slot taken; 0 for an empty log. */
  readonly top: Slot;
  /** Slot of the latest claim; 0 when there is none. */
  readonly epoch: Slot;
  /** Who holds the volume: the host of the latest claim unless that epoch was released or tombstoned. */
  readonly holder: Holder | undefined;
  /** The latest claim, released or not. */
  readonly lastClaim: ClaimEntry | undefined;
  /** Set when the latest claim's epoch ended in a tombstone. */
  readonly tombstone: ClosingEntry | undefined;
  /** Publishes that count, ascending; the last one is the head. */
  readonly published: readonly PublishEntry[];
  readonly head: GenerationName | undefined;
  /** Publishes that lost: written under an epoch that was not the open one. */
  readonly diverged: readonly PublishEntry[];
}

/**
 * @param unordered every entry found, in any order
 */
export function readVolumeLog(unordered: readonly LogEntry[]): VolumeLog {
  const entries = [...unordered].sort((a, b) => a.slot - b.slot);
  const published: PublishEntry[] = [];
  const diverged: PublishEntry[] = [];
  let lastClaim: ClaimEntry | undefined;
  let closing: ClosingEntry | undefined;
  for (const entry of entries) {
    if (entry.kind === 'claim') {
      lastClaim = entry;
      closing = undefined;
    } else if (entry.kind === 'publish') {
      const counts = isUnder(lastClaim, entry.generation) && closing === undefined;
      (counts ? published : diverged).push(entry);
    } else if (entry.kind !== 'unknown' && isUnder(lastClaim, entry)) {
      closing ??= entry;
    }
  }
  return {
    entries,
    top: entries.at(-1)?.slot ?? 0,
    epoch: lastClaim?.slot ?? 0,
    holder: lastClaim && !closing ? holderOf(lastClaim) : undefined,
    lastClaim,
    tombstone: closing?.kind === 'tombstone' ? closing : undefined,
    published,
    head: published.at(-1)?.generation,
    diverged,
  };
}

function isUnder(
  claim: ClaimEntry | undefined,
  { epoch, host }: { readonly epoch: Slot; readonly host: HostName },
): boolean {
  return claim?.slot === epoch && claim.host === host;
}

function holderOf(claim: ClaimEntry): Holder {
  const { host, id, instance, slot, token, at, reason } = claim;
  const ids = { ...(id !== undefined && { id }), ...(instance !== undefined && { instance }) };
  return { host, ...ids, epoch: slot, token, claimedAt: at, reason };
}

/** The last claim of any host but this one after slot `since`. */
export function claimOfAnother(log: VolumeLog, self: Self, since: Slot): ClaimEntry | undefined {
  const isOthers = (entry: LogEntry): entry is ClaimEntry =>
    entry.kind === 'claim' && entry.slot > since && !isOwn(entry, self);
  return log.entries.findLast(isOthers);
}

/** Whether any host but this one claimed the volume after slot `since`. */
export function claimedByAnother(log: VolumeLog, self: Self, since: Slot): boolean {
  return claimOfAnother(log, self, since) !== undefined;
}

/** The claim of an epoch, if the log was read so far down. */
export function claimOf({ entries }: Pick<VolumeLog, 'entries'>, epoch: Slot): ClaimEntry | undefined {
  const found = entries.find(({ slot }) => slot === epoch);
  return found?.kind === 'claim' ? found : undefined;
}

/** Whether this host published the head: a generation's name has a host's name alone, its epoch's claim tells whose. */
export function isHeadOwn(log: Pick<VolumeLog, 'entries' | 'head'>, self: Self): boolean {
  const claim = log.head && claimOf(log, log.head.epoch);
  return claim !== undefined && isOwn(claim, self);
}

/**
 * Whether a holder was replaced by another host before it gave the volume up, or gave it up because its
 * guest went on elsewhere: of a volume that has no generation, the TPM may be in use there.
 */
export function hasAbandonedEpoch({ entries }: VolumeLog): boolean {
  let open: ClaimEntry | undefined;
  for (const entry of entries) {
    if (entry.kind === 'claim') {
      if (open && !isSameHost(open, entry)) return true;
      open = entry;
    } else if (entry.kind === 'release' && entry.epoch === open?.slot) {
      // Its TPM went on with its guest; who has it now has stored nothing either.
      if (entry.reason === HANDED_OVER) return true;
      open = undefined;
    }
  }
  return false;
}

/**
 * The first slot that pruning keeps: the claim of the epoch that holds the oldest generation to keep. Everything below may go, as a
 * prefix, lowest slot first. 0 when nothing may.
 *
 * @param keep how many published generations stay at least, from the head down; at least 1
 */
export function pruneBoundary(log: VolumeLog, keep: number): Slot {
  const oldestKept = log.published.at(-Math.max(1, keep)) ?? log.published[0];
  if (!oldestKept) return 0;
  return oldestKept.generation.epoch;
}

/** Whether the open epoch has grown so long that a fresh claim should end it, to let pruning take whole epochs. */
export function needsCompaction(log: VolumeLog, keep: number): boolean {
  const inEpoch = log.published.filter((entry) => entry.generation.epoch === log.epoch).length;
  return log.holder !== undefined && inEpoch >= 2 * Math.max(1, keep);
}
