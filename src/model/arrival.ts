/**
 * arrival: whether a guest that came from another host is the one that its volume's last holder ran,
 * so that what it brought may follow the head. Pure; the log decides, and no clock does.
 *
 * Two things can prove it:
 *
 *   a run's claim  found in the definition that came with the guest: the log has that claim, and
 *                  nobody has had the domain since (`standingOf`)
 *   a hand-over    the host that held the volume when the migration was announced has released it,
 *                  saying that its guest had migrated, and no other guest of the domain can be about
 *
 * The second is all that a host without an agent, or of version 0.1.0, leaves. It is a statement of
 * the holder itself and names the guest (the one that ran under its claim), but not where that went.
 * So it is believed only where no former holder's guest may run on: such a guest could have come here
 * while the holder's went elsewhere.
 *
 * I1 (G4) A holder that is silent proves nothing by itself. With a run's claim it need not speak: the
 *    guest that ran under it is here.
 * I2 (G4) A copy of a run's claim that is left in a definition, or belongs to another domain, another
 *    volume or an earlier run, is not the claim that the log ends with, and proves nothing.
 */
import type { Slot } from './generation-name.js';
import { bearsName, isOwn, isSameHost, type Author, type HostIdentity, type Self } from './host-identity.js';
import type { HostName } from './identifiers.js';
import { HANDED_OVER, type ClaimEntry, type LogEntry } from './log-entry.js';
import type { RunClaim } from './run-claim.js';
import { claimOf, type VolumeLog } from './volume-log.js';

/** What is known of where a guest comes from. */
export interface Provenance {
  /** The claim that its definition carries. */
  readonly claim: RunClaim | undefined;
  /** Who held the volume when the migration was announced. */
  readonly source: { readonly slot: Slot; readonly host: HostName } | undefined;
  /** Where the log ended then. */
  readonly logTop: Slot | undefined;
}

/** This host. */
type Present = Self & Pick<HostIdentity, 'name'>;

/** `waiting`: the source has not given the volume up yet, and can still say so. */
export type ArrivalVerdict = 'proved' | 'waiting' | 'unproved';

/**
 * What became of a claim:
 *
 *   open         its host holds the volume, under it or under a later claim for the same run
 *   handed-over  its host released the volume because the guest had migrated
 *   taken        this host has claimed the volume from it, and stored nothing since
 *   lost         anything else: another host has had the domain, or its own host for another run
 *
 * Claims of this host on top of a hand-over change nothing as long as nothing is stored under them.
 */
export type Standing = 'open' | 'handed-over' | 'taken' | 'lost';

/** Claims by which a holder goes on with the run that it has. */
const SAME_RUN: ReadonlySet<string> = new Set(['recover', 'compact', 'adopt']);
/** Claims for a new run, of which a former guest on that host has nothing left. */
const NEW_RUN: ReadonlySet<string> = new Set(['start', 'take-over']);

/** @param isAlive whether the volume's holder has a heartbeat */
export function judgeArrival(
  log: VolumeLog | undefined,
  self: Present,
  { claim, source, logTop }: Provenance,
  isAlive: boolean,
): ArrivalVerdict {
  if (!log || wasNeverHad(log, self)) return 'proved';
  if (claim) {
    const standing = standingOf(log, self, { slot: claim.epoch, ...claim });
    if (standing === 'open') return isAlive ? 'waiting' : 'proved';
    return standing === 'lost' ? 'unproved' : 'proved';
  }
  if (!source) return 'unproved';
  const standing = standingOf(log, self, source);
  if (standing === 'open') return 'waiting';
  const isProved = isHandedOver(log, self, source, logTop) && !isContested(log, self);
  return isProved ? 'proved' : 'unproved';
}

/** Whether the volume's last holder said that its guest had migrated, and that is the one that came here. */
export function cameByHandOver(log: VolumeLog, self: Present, provenance: Provenance): boolean {
  const { claim, source } = provenance;
  const from = claim ? { slot: claim.epoch, ...claim } : source;
  if (!from || standingOf(log, self, from) !== 'handed-over') return false;
  return judgeArrival(log, self, provenance, true) === 'proved';
}

/** @param claim `token`: where it is known, the log's claim must have it */
export function standingOf(
  log: VolumeLog,
  self: Self,
  claim: { readonly slot: Slot; readonly host: HostName; readonly token?: string },
): Standing {
  const { host } = claim;
  const first = log.entries.find((entry) => entry.slot === claim.slot);
  if (first?.kind !== 'claim' || !bearsName(first, { name: host })) return 'lost';
  if (claim.token !== undefined && claim.token !== first.token) return 'lost';
  const counting = new Set<LogEntry>(log.published);
  let course: Course = { origin: first, self, epoch: first.slot, standing: 'open' };
  for (const entry of log.entries) {
    if (entry.slot <= first.slot || (entry.kind === 'publish' && !counting.has(entry))) continue;
    course = after(course, entry);
    if (course.standing === 'lost') break;
  }
  return course.standing;
}

/**
 * Whether the head was stored after the run of a claim had ended. One that was pruned has as many
 * generations above it as the volume keeps, and its run would have left a newer claim in the definition;
 * one that the log does not reach is of another volume, and proves nothing.
 */
export function isOlderThanHead(log: VolumeLog, { host, epoch, token }: RunClaim): boolean {
  const { head, entries } = log;
  if (!head || head.slot < epoch) return false;
  const isLater = (entry: LogEntry): entry is ClaimEntry =>
    entry.kind === 'claim' && entry.slot > epoch && entry.slot <= head.epoch;
  const own = entries.find((entry) => entry.slot === epoch);
  const origin: Author = own?.kind === 'claim' ? own : { host };
  const begins = (entry: LogEntry): boolean =>
    isLater(entry) && (!isSameHost(entry, origin) || !SAME_RUN.has(entry.reason));
  if (own) {
    if (own.kind !== 'claim' || own.token !== token) return false;
    const ended = entries.find((entry) => entry.kind === 'release' && entry.slot > epoch);
    return entries.some(begins) || (ended !== undefined && ended.slot < head.slot);
  }
  return (entries[0]?.slot ?? 0) > epoch;
}

/** A claim's course through the log. */
interface Course {
  /** The host that made it. */
  readonly origin: Author;
  readonly self: Self;
  /** The latest claim for the same run. */
  readonly epoch: Slot;
  readonly standing: Standing;
}

/** @param entry the next one; a publish is one that counts */
function after(course: Course, entry: LogEntry): Course {
  const { origin, self, epoch, standing } = course;
  const lost: Course = { ...course, standing: 'lost' };
  switch (entry.kind) {
    case 'claim':
      if (isSameHost(entry, origin) && standing === 'open' && SAME_RUN.has(entry.reason)) {
        return { ...course, epoch: entry.slot };
      }
      if (!isOwn(entry, self)) return lost;
      return standing === 'open' ? { ...course, standing: 'taken' } : course;
    case 'publish':
      return entry.generation.epoch === epoch ? course : lost;
    case 'release':
      if (!isSameHost(entry, origin) || entry.epoch !== epoch || standing !== 'open') return course;
      return entry.reason === HANDED_OVER ? { ...course, standing: 'handed-over' } : lost;
    case 'tombstone':
    case 'unknown':
      return lost;
  }
}

/** Whether nothing was ever stored, and no other host has had the domain. */
function wasNeverHad({ entries, published, holder }: VolumeLog, self: Self): boolean {
  if (published.length > 0 || (holder && !isOwn(holder, self))) return false;
  return entries.every((entry) => entry.kind !== 'unknown');
}

function isHandedOver(
  log: VolumeLog,
  self: Self,
  source: { readonly slot: Slot; readonly host: HostName },
  logTop: Slot | undefined,
): boolean {
  if (logTop === undefined || standingOf(log, self, source) !== 'handed-over') return false;
  const holder = claimOf(log, source.slot) ?? source;
  return log.entries.some(
    (entry) => entry.kind === 'release' && isSameHost(entry, holder) && entry.slot > logTop,
  );
}

/** Whether the guest of a holder that was replaced may run on, as far as pruning has left the log. */
function isContested({ entries }: VolumeLog, self: Present): boolean {
  let replaced: Author[] = [];
  let open: ClaimEntry | undefined;
  for (const entry of entries) {
    if (entry.kind === 'release' && entry.epoch === open?.slot) open = undefined;
    if (entry.kind !== 'claim') continue;
    if (open && !isSameHost(open, entry)) replaced.push(open);
    if (entry.from) replaced.push({ host: entry.from });
    if (NEW_RUN.has(entry.reason)) {
      const { host } = entry;
      replaced = replaced.filter((one) => !isSameHost(one, entry) && !bearsName(one, { name: host }));
    }
    open = entry;
  }
  // A guest of this host cannot have come from another.
  return replaced.some((one) => !isOwn(one, self) && !bearsName(one, self));
}
