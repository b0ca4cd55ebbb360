/**
 * recovery-point: up to which moment everything that a domain wrote is on the share. Pure.
 *
 * "On the share" is never the absence of a sign. It is said only where it is proved: the last reading of the files began after
 * the last change that was noticed, it was whole, what it found is the head, and this host's claim stands as far as is known
 * (`behindBy`). Everything else is behind, and has been since the first change that may not be there.
 *
 * A change is on its way through four stages, and each remembers when the oldest change in it was noticed:
 *
 *   noticed ---> reading ---> captured ---> carried ---> (the head)
 *                   |  ^         ^             |
 *                   v  |         +-------------+  the publish failed
 *                  unread    a reading that failed, or whose content could not be taken
 *
 * Beside them stands `unclaimed`: since when this host cannot say that it holds the volume.
 *
 * I1 What has left a stage without being the head is in another one: the recovery point never passes a change that is not stored.
 * I2 A change that is stored leaves with its publish, though newer ones follow it: under constant writes the point moves on.
 * Not guaranteed: changes that nobody has noticed yet (see `agent/domain/reread.ts`).
 */
import { isInUse, sameDigest } from './lifecycle-facts.js';
import type { Lifecycle } from './lifecycle-state.js';

/** Why the share has not everything that the domain wrote; where several hold, the one that lasts longest. */
export type BehindReason =
  /** Another host holds the volume: nothing that is written here becomes the head. */
  | 'fenced'
  /** What runs here is another TPM than the volume's. */
  | 'foreign'
  /** The files cannot be read. */
  | 'unread'
  /** A part of them (the NVRAM) cannot be read; the rest was taken. */
  | 'part-unread'
  /** A reading was set aside until what was captured before it is judged. */
  | 'set-aside'
  /** What lies here lost to the head, and is kept as a diverged copy. */
  | 'not-the-head'
  /** Whether this host still holds the volume is not known. */
  | 'in-doubt'
  /** The volume is not claimed for this run yet. */
  | 'unclaimed'
  /** Captured, and durable in this host's spool alone. */
  | 'spooled'
  /** Captured, and in the memory of this program alone. */
  | 'captured'
  /** A change was noticed, and is not read yet. */
  | 'changed';

/** `undefined` where everything that the domain wrote, as far as was noticed, is the head. */
export function behindBy(state: Lifecycle): BehindReason | undefined {
  const { pending } = state;
  const waiting = pending && (pending.spooled ? 'spooled' : 'captured');
  if (!isInUse(state)) return lostByStop(state) ?? waiting;
  if (state.hold.kind === 'fenced') return 'fenced';
  return unreadBy(state) ?? unclaimedBy(state) ?? waiting ?? (isUnseen(state) ? 'changed' : undefined);
}

/** Of a domain that has stopped, or never ran here, only what could not be taken counts, beside what still waits. */
function lostByStop({ run, reading, passedOver }: Lifecycle): BehindReason | undefined {
  if (run !== 'stopped') return undefined;
  if (reading.kind === 'failed') return 'unread';
  return passedOver ? 'set-aside' : undefined;
}

function unreadBy(state: Lifecycle): BehindReason | undefined {
  const { reading, passedOver } = state;
  if (reading.kind === 'failed') return 'unread';
  if (passedOver) return 'set-aside';
  if (reading.kind !== 'taken') return undefined;
  if (reading.foreign) return 'foreign';
  if (reading.incomplete) return 'part-unread';
  return isWaiting(state, reading.digest) || isHead(state, reading.digest) ? undefined : 'not-the-head';
}

function unclaimedBy({ hold, unconfirmed }: Lifecycle): BehindReason | undefined {
  if (hold.kind === 'doubt' || unconfirmed) return 'in-doubt';
  return hold.kind === 'held' ? undefined : 'unclaimed';
}

function isWaiting({ pending }: Lifecycle, digest: string): boolean {
  return pending?.digest === digest;
}

function isHead({ published }: Lifecycle, digest: string): boolean {
  return published !== undefined && sameDigest(published.digest, digest);
}

/** A moment by the host's monotonic clock, ms. */
type Since = number | undefined;

export interface RecoveryPoint {
  readonly noticed?: Since;
  readonly reading?: Since;
  readonly unread?: Since;
  readonly captured?: Since;
  readonly carried?: Since;
  readonly unclaimed?: Since;
  /** How many changes the share has not, at least; those between two readings, which are `timing.settle` apart, are one. */
  readonly changes: number;
  /** How many of them the publish under way stands for: it carries the newest state. */
  readonly changesCarried: number;
}

/** Everything is on the share. */
export const NOTHING_BEHIND: RecoveryPoint = { changes: 0, changesCarried: 0 };

/** Since when the share has been behind; `undefined` when it is not. */
export function behindSince(point: RecoveryPoint): number | undefined {
  const { noticed, reading, unread, captured, carried, unclaimed } = point;
  return [noticed, reading, unread, captured, carried, unclaimed].reduce(earlier, undefined);
}

/**
 * What a former run of this program left. Of what it had not stored nothing is known but that it came after the head.
 *
 * @param sinceMs when the head was stored, or the state in the spool was captured
 */
export function recalledPoint(state: Lifecycle, sinceMs: number): RecoveryPoint {
  if (!behindBy(state)) return NOTHING_BEHIND;
  return {
    noticed: isUnseen(state) ? sinceMs : undefined,
    captured: state.pending && sinceMs,
    changes: state.pending ? 1 : 0,
    changesCarried: 0,
  };
}

/** @param nowMs by the host's monotonic clock; of a program that stood still, when it last noticed everything (`agent/pulse.ts`) */
export function advancePoint(
  point: RecoveryPoint,
  before: Lifecycle,
  after: Lifecycle,
  nowMs: number,
): RecoveryPoint {
  if (before === after) return point;
  if (behindBy(after) === undefined) return NOTHING_BEHIND;
  const read = afterReading(beforeReading(point, before, after), before, after);
  return live(afterPublish(beforePublish(read, before, after), before, after), after, nowMs);
}

/** A reading begins: it takes whatever was noticed before, and what the last one could not take. */
function beforeReading(point: RecoveryPoint, before: Lifecycle, after: Lifecycle): RecoveryPoint {
  if (!before.dirty || after.dirty || after.local !== 'capturing') return point;
  const reading = [point.reading, point.noticed, point.unread].reduce(earlier, undefined);
  return { ...point, reading, noticed: undefined, unread: undefined };
}

function afterReading(point: RecoveryPoint, before: Lifecycle, after: Lifecycle): RecoveryPoint {
  if (before.local !== 'capturing' || after.local === 'capturing') return point;
  const ended = { ...point, reading: undefined };
  // In motion: it came to nothing, and the next one is due.
  if (after.reading === before.reading) {
    return { ...ended, noticed: earlier(point.noticed, point.reading) };
  }
  const isTaken = after.reading.kind === 'taken' && isWaiting(after, after.reading.digest);
  const isNew = isTaken && after.pending?.digest !== before.pending?.digest;
  return {
    ...ended,
    captured: isTaken ? earlier(point.captured, point.reading) : point.captured,
    unread: unreadBy(after) ? earlier(point.unread, point.reading) : point.unread,
    changes: point.changes + (isNew ? 1 : 0),
  };
}

function beforePublish(point: RecoveryPoint, before: Lifecycle, after: Lifecycle): RecoveryPoint {
  if (before.carrying !== undefined || after.carrying === undefined) return point;
  const carried = earlier(point.carried, point.captured);
  return { ...point, carried, captured: undefined, changesCarried: point.changes };
}

function afterPublish(point: RecoveryPoint, before: Lifecycle, after: Lifecycle): RecoveryPoint {
  if (before.carrying === undefined || after.carrying !== undefined) return point;
  const ended = { ...point, carried: undefined, changesCarried: 0 };
  const isStored = isHead(after, before.carrying);
  const isKept = after.outdated.includes(before.carrying);
  if (!isStored && !isKept) return { ...ended, captured: earlier(point.captured, point.carried) };
  const changes = Math.max(0, point.changes - point.changesCarried);
  return { ...ended, changes, unread: isStored ? point.unread : earlier(point.unread, point.carried) };
}

/** Only the stages in which something is; what came into one unseen, comes into it now. */
function live(point: RecoveryPoint, after: Lifecycle, nowMs: number): RecoveryPoint {
  const { pending, carrying, local } = after;
  const waits = pending !== undefined && pending.digest !== carrying;
  return {
    ...point,
    ...outstanding(point, after, nowMs),
    reading: local === 'capturing' ? point.reading : undefined,
    captured: waits ? (point.captured ?? nowMs) : undefined,
    carried: carrying === undefined ? undefined : (point.carried ?? nowMs),
    unclaimed: isUnclaimed(after) ? (point.unclaimed ?? nowMs) : undefined,
  };
}

function outstanding(
  point: RecoveryPoint,
  after: Lifecycle,
  nowMs: number,
): Pick<RecoveryPoint, 'noticed' | 'unread'> {
  const { pending, dirty, local } = after;
  const isIdle = !dirty && local !== 'capturing';
  const isUnread = (unreadBy(after) ?? lostByStop(after)) !== undefined || (isIdle && isUnseen(after));
  // What was captured left for a copy that is not the head.
  const left = pending === undefined ? point.captured : undefined;
  // What could not be taken, and is to be read anew, goes back to where it came from.
  const again = isUnread ? undefined : point.unread;
  return {
    noticed: dirty ? (earlier(point.noticed, again) ?? nowMs) : undefined,
    unread: isUnread ? (earlier(point.unread, left) ?? nowMs) : undefined,
  };
}

function isUnclaimed(state: Lifecycle): boolean {
  return isInUse(state) && (state.hold.kind === 'fenced' || unclaimedBy(state) !== undefined);
}

/** Whether something of a domain in use has yet to be read. */
function isUnseen(state: Lifecycle): boolean {
  return isInUse(state) && (state.dirty || state.local === 'capturing' || state.reading.kind === 'none');
}

function earlier(one: Since, other: Since): Since {
  if (one === undefined) return other;
  return other === undefined ? one : Math.min(one, other);
}
