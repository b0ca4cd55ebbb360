/**
 * share-store: everything that a host asks of its share, one whole protocol operation per call.
 *
 * Two implementations: `local-share-store.ts` runs the operations in this process over a `FileSystem` (the storage process
 * itself, and the simulator), and the storage client runs them in the storage process, so that a hung mount blocks nobody else.
 *
 * Arguments and results are plain data that can be cloned between processes. Failures are `MirrorError`s:
 *
 *   SHARE_*          the operation changed nothing that a reader sees; the same call may be tried again
 *   OUTCOME_UNKNOWN  a commit may or may not have taken place, now or later; resolved by a claim, which
 *                    competes for the same slot (see `claim.ts`), never by going on to the next slot
 */
import type { Capture, PartReference, SeenFile, StateFile } from '../model/capture.js';
import type { GenerationName, Slot } from '../model/generation-name.js';
import type { DomainUuid, HostName } from '../model/identifiers.js';
import type { ErrorRecord } from '../model/errors.js';
import type { ClaimReason } from '../model/log-entry.js';
import type { Holder, VolumeLog } from '../model/volume-log.js';
import type { Double } from './own-beat.js';
import type { GenerationReason, Manifest } from '../bundle/manifest.js';

export interface ShareIdentity {
  readonly id: string;
  readonly format: number;
  readonly createdAt: string;
  /** The age recipient that everything on the share must be encrypted for; see `escrow.ts`. */
  readonly escrow?: string | undefined;
}

/** A holder with its sign of life. */
export interface LivingHolder extends Holder {
  readonly self: boolean;
  /** Whether its host's heartbeat is younger than `hostExpiryMs`; true for this host. */
  readonly alive: boolean;
  /** Age by the server's clock; `undefined` when the host never beat. */
  readonly heartbeatAgeMs: number | undefined;
  /**
   * It counts as alive because it has not been watched for long enough, by this process's own clock:
   * where no clock tells the age of its heartbeat.
   */
  readonly isWatched?: boolean;
}

/** A generation read back whole and checked. */
export interface Generation {
  readonly name: GenerationName;
  /** Of the capture, as if all of it lay in this generation. */
  readonly manifest: Manifest;
  readonly capture: Capture;
  /** Size of the archive. */
  readonly bytes: number;
  /** The generation that holds what is beside its TPM, by its file name. */
  readonly partsIn?: string | undefined;
  /** Of that one's, what is damaged or gone: in the capture it is among the absent parts. */
  readonly lost?: ErrorRecord | undefined;
}

export type HeadReading =
  | { readonly kind: 'none' }
  | { readonly kind: 'whole'; readonly generation: Generation }
  | { readonly kind: 'damaged'; readonly name: GenerationName; readonly error: ErrorRecord };

export interface VolumeReading {
  readonly log: VolumeLog;
  readonly holder: LivingHolder | undefined;
  /** Read only when asked for; otherwise `none`. */
  readonly head: HeadReading;
}

export interface Inspection {
  readonly share: ShareIdentity;
  readonly volume: VolumeReading | undefined;
}

export interface DomainCall {
  readonly uuid: DomainUuid;
}

export interface InspectCall extends DomainCall {
  readonly withHead: boolean;
  /** The log is read down to this slot at least, to see who claimed after it; see `log.ts`. */
  readonly since: Slot;
  /** The share this host knows; another one is refused. `undefined`: any. */
  readonly shareId: string | undefined;
  readonly hostExpiryMs: number;
}

/**
 * Which holders a claim may follow: only this host's own (`own`, which also refuses a free volume: used to go on holding), a free
 * volume as well (`free`), a host whose heartbeat expired (`expired`), or anybody (`forced`).
 */
export type ClaimScope = 'own' | 'free' | 'expired' | 'forced';

export interface ClaimCall extends DomainCall {
  readonly reason: ClaimReason;
  readonly scope: ClaimScope;
  readonly hostExpiryMs: number;
  /** Whether a tombstoned volume may be claimed, which revives it. */
  readonly revive: boolean;
  /** The share this host knows; a different one is refused. `undefined`: any. */
  readonly shareId: string | undefined;
  /** The claim is made only if the log still ends at this slot: what was decided on that log holds. */
  readonly onTopOf?: Slot | undefined;
}

export type ClaimOutcome =
  | {
      readonly kind: 'claimed';
      readonly epoch: Slot;
      readonly log: VolumeLog;
      readonly from: Holder | undefined;
    }
  | { readonly kind: 'held'; readonly holder: LivingHolder; readonly log: VolumeLog }
  /** Scope `own` only: the volume is free, so this host no longer holds it. */
  | { readonly kind: 'free'; readonly log: VolumeLog }
  | { readonly kind: 'tombstoned'; readonly log: VolumeLog }
  /** With `onTopOf` only: the log has grown since. */
  | { readonly kind: 'moved'; readonly log: VolumeLog };

/** What a manifest says beside the capture itself. */
export interface PublishNote {
  readonly domainName: string;
  readonly reason: GenerationReason;
  readonly bootId: string;
  readonly swtpm: string;
  readonly libtpms: string;
}

export interface PublishCall extends DomainCall {
  /** The claim under which this host holds the volume. */
  readonly epoch: Slot;
  /** The next free slot as this host, the only writer of its epoch, knows it. */
  readonly slot: Slot;
  /** Slot of the head that this generation follows; 0 for the first. */
  readonly parent: Slot;
  /** Its parts beside the TPM can be references to one generation of this epoch that was acknowledged, and has no references itself. */
  readonly capture: Capture;
  readonly note: PublishNote;
}

/** A part of a state, and the generation that holds it. */
export interface StoredPart extends Pick<StateFile, 'role' | 'sha256'> {
  readonly in: PartReference;
}

export type CommitOutcome =
  /** `parts`: what is beside its TPM, if anything. */
  | { readonly kind: 'committed'; readonly slot: Slot; readonly parts?: readonly StoredPart[] }
  /** The slot holds a foreign entry: this host lost the volume. `by` is the host of the claim found there, if it is one. */
  | { readonly kind: 'fenced'; readonly slot: Slot; readonly by: HostName | undefined };

export interface CloseEpochCall extends DomainCall {
  readonly kind: 'release' | 'tombstone';
  readonly epoch: Slot;
  readonly slot: Slot;
  readonly reason: string;
}

export interface FetchCall extends DomainCall {
  /** A published slot, the head, or the newest of the diverged copies. */
  readonly slot: Slot | 'head' | 'diverged';
  /** First digits of the content that is meant, where there are several diverged copies. */
  readonly digest?: string | undefined;
  /** Whether a damaged generation is passed over for the newest older valid one. */
  readonly fallBack: boolean;
}

export interface FetchResult {
  readonly generation: Generation;
  /** Newer generations that were passed over, newest first. */
  readonly passedOver: readonly DamagedGeneration[];
}

export interface DamagedGeneration {
  readonly name: GenerationName;
  readonly error: ErrorRecord;
}

export interface DivergeCall extends DomainCall {
  readonly epoch: Slot;
  readonly slot: Slot;
  readonly capture: Capture;
  readonly note: PublishNote;
  /** Digest of this host's copy under the same claim that this one comes after: that one goes. */
  readonly supersedes?: string | undefined;
}

export interface TidyCall extends DomainCall {
  /** The claim under which this host holds the volume: only a holder tidies. */
  readonly epoch: Slot;
  /** Published generations to keep at least. */
  readonly keep: number;
  /** The run whose swtpm works on the share now; what other runs left is swept. */
  readonly live?: Slot | undefined;
}

export interface TidyResult {
  /** Crash leftovers and pruned generations that were removed. */
  readonly removed: number;
  /** Generations of fenced writers that were kept as diverged copies. */
  readonly diverged: number;
  /** Hosts in the log that have no record on the share. */
  readonly strangers?: readonly HostName[];
  /** The open epoch is long: a claim with reason `compact` lets the next tidy prune it. */
  readonly needsCompaction: boolean;
}

/** A run of a domain whose swtpm works on the share itself, named by the claim that it began with; see `live.ts`. */
export interface LiveCall extends DomainCall {
  readonly live: Slot;
}

export interface PlaceLiveCall extends LiveCall {
  readonly capture: Capture;
}

/** A part of a generation that could not be read when it was written. */
export interface UnreadPart {
  readonly role: string;
  /** `stale`: an earlier reading stands for it. */
  readonly state: 'stale' | 'absent';
  readonly reason: string;
}

/** One line of a volume's story, as `history` prints it. */
export interface HistoryEntry {
  readonly kind: 'publish' | 'diverged' | 'claim' | 'release' | 'tombstone' | 'unknown';
  readonly slot: Slot;
  readonly epoch: Slot;
  readonly host: string;
  readonly time: string;
  readonly reason: string;
  readonly head: boolean;
  /** Claims only: the host that the volume was taken from, and for how long that had been silent, ms. */
  readonly from?: string;
  readonly silentMs?: number;
  /** Publishes only; absent when the generation cannot be read. */
  readonly bytes?: number;
  readonly sha256?: string;
  readonly pins: readonly string[];
  /** Publishes only: parts that are not in it, or not as they were. */
  readonly unread?: readonly UnreadPart[];
  readonly damage?: ErrorRecord;
  /** The share has no record of a host of that name. */
  readonly stranger?: true;
}

export interface HostBeat {
  /** Another instance under this host's identity that is not known to be dead. */
  readonly double?: Double;
  /** This host's beat took this long, milliseconds by this host's monotonic clock. */
  readonly latencyMs: number;
}

export interface BeatCall {
  readonly shareId: string | undefined;
}

export interface VerifyResult {
  readonly uuid: DomainUuid;
  readonly checked: number;
  /** How many of them are encrypted for keys that this host has not: only their structure was checked. */
  readonly unopened: number;
  readonly damaged: readonly DamagedGeneration[];
  /** What is wrong beside its generations: the log, snapshots. */
  readonly problems: readonly ErrorRecord[];
  /** Hosts in the log that have no record on the share. */
  readonly strangers?: readonly HostName[];
}

/** Every operation takes one argument and gives one result; `deadlineMs` bounds how long the caller waits. */
export interface ShareStore {
  /** Makes the marker in an empty or new directory. Refuses one that holds anything else. */
  initialise(call: { readonly escrow?: string | undefined }): Promise<ShareIdentity>;
  /** Reads the marker and nothing else. */
  identify(call: Record<string, never>): Promise<ShareIdentity>;
  /** Checks the marker, registers this host's name and rewrites its heartbeat. */
  beat(call: BeatCall): Promise<HostBeat>;
  /** Takes former names of this host away, under which it holds nothing any more. @returns those names */
  leaveFormerNames(call: Record<string, never>): Promise<HostName[]>;
  /** Goodbye: this host counts as expired from now on. */
  leave(call: Record<string, never>): Promise<void>;
  list(call: Record<string, never>): Promise<DomainUuid[]>;
  inspect(call: InspectCall): Promise<Inspection>;
  claim(call: ClaimCall): Promise<ClaimOutcome>;
  publish(call: PublishCall): Promise<CommitOutcome>;
  closeEpoch(call: CloseEpochCall): Promise<CommitOutcome>;
  fetch(call: FetchCall): Promise<FetchResult>;
  /** Keeps a capture that lost its race, in `diverged/`; the same content twice is kept once. */
  diverge(call: DivergeCall): Promise<void>;
  tidy(call: TidyCall): Promise<TidyResult>;
  /** Makes the directory in which swtpm is going to work. */
  placeLive(call: PlaceLiveCall): Promise<void>;
  readLive(call: LiveCall): Promise<SeenFile[]>;
  /** A text that changes with the state. */
  lookLive(call: LiveCall): Promise<string>;
  removeLive(call: LiveCall): Promise<void>;
  history(call: DomainCall): Promise<HistoryEntry[]>;
  verify(call: DomainCall): Promise<VerifyResult>;
}
