/**
 * status: what this host knows of its domains and its share, as the JSON that scripts read and the table that people read.
 */
import { isAtRest, type JournalRecord } from '../../host/journal-record.js';
import type { SpoolEntry } from '../../host/spool.js';
import { parseSpoolName } from '../../host/spool-name.js';
import type { Config } from '../../model/config.js';
import type { Clock } from '../../model/environment.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';
import { partNotice } from '../../model/parts.js';
import type { BehindReason } from '../../model/recovery-point.js';
import type { TakeOver } from '../../model/take-over.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import { toAttention, type Attention } from '../attention.js';
import { partStatus, type PartStatus } from '../domain/domain-parts.js';
import type { LeftOut } from '../left-out.js';
import type { Replicator } from '../domain/replicator.js';
import type { ShareHealthReport, ShareState } from '../share/share-health.js';

export interface HolderStatus {
  readonly host: string;
  readonly alive: boolean;
  readonly heartbeatAgeMs: number | null;
}

export interface DomainStatus {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly state: 'stopped' | 'prepared' | 'incoming' | 'running' | 'finishing' | 'fenced';
  /** Where its swtpm works, or worked last. */
  readonly placement: Config['placement'];
  /** Claim under which this host holds, or last held, the volume; 0 for none. */
  readonly epoch: number;
  /** Slot of the head as this host knows it; 0 for none. */
  readonly head: number;
  /** When it was stored, RFC 3339 UTC; `null` when that is not known. */
  readonly headTime: string | null;
  /** How long ago that was, ms. */
  readonly headAgeMs: number | null;
  /** Content digest, or its first digits, of what the share has. */
  readonly published: string | null;
  /** Where state waits that the share does not have: nowhere, in memory and on the local disk, or durable in the spool. */
  readonly pending: 'none' | 'local' | 'spooled';
  /** How many changes the share has not, at least; those between two readings, which are `timing.settle` apart, are one. */
  readonly pendingChanges: number;
  /** Why the share has not everything that the domain wrote; `null` when it has, as far as is known. */
  readonly behind: BehindReason | 'unknown' | null;
  /** For how long the share has been behind, ms. */
  readonly lagMs: number;
  /** Since when, by this host's clock, RFC 3339 UTC; `null` when the share has everything. */
  readonly pendingSince: string | null;
  readonly holder: HolderStatus | null;
  /** How this host came to the volume for this run of the domain, when it took it from another one. */
  readonly takenOver: TakeOver | null;
  /** What its generations hold beside the TPM, as far as that is known. */
  readonly parts: readonly PartStatus[];
  readonly attention: readonly Attention[];
}

export interface Status {
  readonly host: string;
  readonly share: {
    readonly path: string;
    readonly id: string;
    readonly state: ShareState;
    /** Of the last heartbeat that went well. */
    readonly latencyMs: number;
    /** Since that heartbeat; `null` before the first. */
    readonly beatAgeMs: number | null;
  };
  readonly domains: readonly DomainStatus[];
  readonly attention: readonly Attention[];
  /** VMs that run here with a TPM that is stored nowhere. */
  readonly unprotected: readonly UnprotectedStatus[];
}

export interface UnprotectedStatus {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly reason: string;
  /** Its own metadata asks for it. */
  readonly askedFor: boolean;
}

export type StatusContext = Pick<AgentContext, 'config' | 'clock'>;

export function hostStatus(
  host: StatusContext,
  health: ShareHealthReport,
  replicators: readonly Replicator[],
  attention: readonly Attention[],
  leftOut: readonly LeftOut[] = [],
): Status {
  const { config } = host;
  const { id, state, latencyMs, beatAgeMs } = health;
  const share = [health.error, health.double].flatMap((error) =>
    error ? [{ code: error.code, message: error.message, next: error.next }] : [],
  );
  return {
    host: config.host,
    share: { path: config.share, id, state, latencyMs, beatAgeMs: beatAgeMs ?? null },
    domains: replicators.map((replicator) => domainStatus(host, health, replicator)).sort(byTrouble),
    attention: [...share, ...plainAccepted(config), ...attention],
    unprotected: leftOut.map(({ uuid, name, why, isAskedFor }) => ({
      uuid,
      name,
      reason: why,
      askedFor: isAskedFor,
    })),
  };
}

export function domainStatus(
  { config, clock }: StatusContext,
  health: ShareHealthReport,
  replicator: Replicator,
): DomainStatus {
  const { uuid, name, lagMs, pendingChanges, attention, state, behind } = replicator;
  return {
    uuid,
    name,
    state: state.hold.kind === 'fenced' ? 'fenced' : state.run,
    placement: replicator.place.live === undefined ? 'mirror' : 'direct',
    epoch: 'epoch' in state.hold ? state.hold.epoch : 0,
    head: state.published?.slot ?? 0,
    ...stored(clock, state.published ? replicator.publishedAt : null),
    published: state.published?.digest ?? null,
    pending: pendingOf(state, behind),
    pendingChanges,
    behind: behind ?? null,
    ...since(clock, lagMs),
    holder: holderOf(config, health, state),
    takenOver: replicator.takenOver ?? null,
    parts: replicator.parts,
    attention: attention.list(),
  };
}

/** Said for as long as it is on: it is for a change-over, and takes the proof away that encryption gives. */
function plainAccepted({ encryption: { recipients, acceptPlain } }: Config): Attention[] {
  if (!acceptPlain || recipients.length === 0) return [];
  return [
    {
      code: 'NEEDS_ATTENTION',
      message:
        'encryption.accept_plain is on: what lies on the share in the clear is used, whoever put it there',
      next: 'run `swtpm-mirror rekey --all` when every host encrypts, then take it out of the configuration',
    },
  ];
}

/** The same for a domain that no agent looks after just now, from its journal, its spool and a look at its volume. */
export function recordStatus(
  { clock }: StatusContext,
  record: JournalRecord,
  entry: SpoolEntry | undefined,
  volume: VolumeReading | undefined,
): DomainStatus {
  const spooled = entry && !isHead(entry, volume) ? entry : undefined;
  const { uuid, name, fenced, phase, epoch, slot, digest, holding } = record;
  const holder = volume?.holder;
  const head = volume?.log.head?.slot ?? slot;
  return {
    uuid,
    name,
    state: fenced ? 'fenced' : stateOf(phase, holding),
    placement: record.live === null ? 'mirror' : 'direct',
    epoch,
    head,
    ...stored(clock, head === slot ? record.publishedAt : null),
    published: volume?.log.head?.digestPrefix ?? digest,
    pending: spooled ? 'spooled' : 'none',
    pendingChanges: spooled ? 1 : 0,
    behind: spooled ? 'spooled' : null,
    ...since(clock, spooled && clock.nowMs() - spooled.writtenAtMs),
    holder: holder
      ? { host: holder.host, alive: holder.alive, heartbeatAgeMs: holder.heartbeatAgeMs ?? null }
      : null,
    takenOver: isAtRest(record) ? null : record.takenOver,
    parts: record.unread.map(partStatus),
    attention: record.unread.map((part) => toAttention(partNotice(uuid, part, record.nvramPath ?? ''))),
  };
}

/** What waits in the spool may have been published by whoever died before he could remove it. */
function isHead({ name }: SpoolEntry, volume: VolumeReading | undefined): boolean {
  const prefix = volume?.log.head?.digestPrefix;
  return prefix !== undefined && parseSpoolName(name)?.digestPrefix === prefix;
}

function stored(clock: Clock, time: string | null): Pick<DomainStatus, 'headTime' | 'headAgeMs'> {
  // Another host's clock may be ahead of this one's.
  const headAgeMs = time === null ? null : Math.max(clock.nowMs() - Date.parse(time), 0);
  return { headTime: time, headAgeMs };
}

function since(clock: Clock, lagMs: number | undefined): Pick<DomainStatus, 'lagMs' | 'pendingSince'> {
  if (lagMs === undefined) return { lagMs: 0, pendingSince: null };
  return { lagMs: Math.round(lagMs), pendingSince: new Date(clock.nowMs() - lagMs).toISOString() };
}

function stateOf(phase: JournalRecord['phase'], holding: boolean): DomainStatus['state'] {
  if (phase === 'prepared' || phase === 'incoming' || phase === 'running') return phase;
  if (phase === 'arrived') return 'running';
  return holding || phase === 'finishing' ? 'finishing' : 'stopped';
}

/** Reasons that leave something on this host alone, which a loss of its disk would take. */
const ON_THIS_HOST: ReadonlySet<BehindReason> = new Set(['unread', 'part-unread', 'set-aside', 'changed']);

function pendingOf(
  { pending, dirty, local }: Lifecycle,
  behind: BehindReason | undefined,
): DomainStatus['pending'] {
  const isUnread = dirty || local === 'capturing' || (behind !== undefined && ON_THIS_HOST.has(behind));
  if (pending?.spooled && !isUnread) return 'spooled';
  return pending || (isUnread && behind !== undefined) ? 'local' : 'none';
}

function holderOf(
  config: Config,
  { beatAgeMs }: ShareHealthReport,
  { hold }: Lifecycle,
): HolderStatus | null {
  switch (hold.kind) {
    case 'none':
    case 'wanted':
      return null;
    case 'held':
    case 'doubt':
      return {
        host: config.host,
        alive: beatAgeMs !== undefined && beatAgeMs <= config.timing.hostExpiryMs,
        heartbeatAgeMs: beatAgeMs ?? null,
      };
    case 'fenced':
      return { host: hold.by, alive: true, heartbeatAgeMs: null };
  }
}

function byTrouble(a: DomainStatus, b: DomainStatus): number {
  return trouble(b) - trouble(a) || a.name.localeCompare(b.name) || a.uuid.localeCompare(b.uuid);
}

function trouble({ state, attention, behind }: DomainStatus): number {
  return (state === 'fenced' ? 4 : 0) + (attention.length > 0 ? 2 : 0) + (behind === null ? 0 : 1);
}
