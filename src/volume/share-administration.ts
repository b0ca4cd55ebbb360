/**
 * share-administration: what an operator asks of a share beyond what its agents need; `share-store.ts` says how calls travel and fail.
 *
 * Nothing here commits to a log, but by a claim of its own: each of these is safe beside a running domain.
 */
import type { Manifest } from '../bundle/manifest.js';
import type { ErrorRecord } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
import type { HostId } from '../model/host-identity.js';
import type { DomainUuid, HostName, SnapshotName } from '../model/identifiers.js';
import type { Holder } from '../model/volume-log.js';
import type { ShareExamination } from './examine.js';
import type { ClaimOutcome, DomainCall, Generation, ShareIdentity, ShareStore } from './share-store.js';

export interface PurgeCall extends DomainCall {
  readonly hostExpiryMs: number;
  readonly shareId: string | undefined;
  /** The volume is purged only if its log still ends at this slot; `undefined`: whatever came since. */
  readonly onTopOf?: Slot;
  /** Do not look at the log, which cannot be read: nobody is fenced and nobody is asked. */
  readonly unread: boolean;
}

export type PurgeOutcome = { readonly kind: 'purged' } | Exclude<ClaimOutcome, { kind: 'claimed' }>;

export interface PinCall extends DomainCall {
  readonly name: SnapshotName;
}

export interface MakePinCall extends PinCall {
  readonly slot: Slot | 'head';
}

/** A generation kept from pruning under a name. */
export interface Pin {
  readonly name: string;
  /** Of the archive; absent when it cannot be read, and then `damage` says why. */
  readonly manifest?: Manifest;
  readonly bytes?: number;
  readonly damage?: ErrorRecord;
  /** Whether the volume's log has that generation, too. */
  readonly inLog: boolean;
}

export interface EscrowCall {
  readonly escrow: string | undefined;
}

export interface ResealCall extends DomainCall {
  /** Where the call before ended; '' for the first. */
  readonly after: string;
  /** Only tell what would be written anew. */
  readonly dryRun: boolean;
}

/** What one call did; counts of files. */
export interface Resealed {
  readonly rewritten: number;
  /** Lay there as this host would write them. */
  readonly already: number;
  /** This host has no key for them; left as they are. */
  readonly unopened: number;
  /** Left as they are; paths relative to the volume. */
  readonly damaged: readonly { readonly path: string; readonly error: ErrorRecord }[];
  /** For the next call; `undefined`: nothing is left. */
  readonly next: string | undefined;
}

export interface SurveyCall {
  readonly hostExpiryMs: number;
  readonly shareId: string | undefined;
}

export interface FenceCall {
  readonly host: HostName;
  readonly shareId: string | undefined;
}

export interface HostPresence {
  readonly host: HostName;
  /** `undefined` when program 0.1.0 beats there, or nobody does. */
  readonly id?: HostId | undefined;
  readonly alive: boolean;
  /** Somebody declared it dead, and it did not beat since. */
  readonly fenced: boolean;
  /** By the server's clock; `undefined` when it said goodbye, or never beat. */
  readonly heartbeatAgeMs: number | undefined;
  /** No clock tells its heartbeat's age: it was seen, and nothing is known of whether it changes. */
  readonly isWatched: boolean;
  /** How far its heartbeat lies in the server's future, ms. */
  readonly aheadMs: number;
  /** Of the program that beats, or beat last; `undefined` when it does not tell. */
  readonly version: string | undefined;
  /** Why it cannot be said whether it lives. */
  readonly problem?: ErrorRecord;
}

export interface Survey {
  readonly share: ShareIdentity;
  /** By name. */
  readonly hosts: readonly HostPresence[];
  readonly volumes: readonly DomainUuid[];
  /** Names in `hosts/` that are no host, and in `volumes/` and `purged/` that are no volume, or one that was not purged to its end. */
  readonly strays: readonly string[];
}

/** One volume at a glance. */
export interface VolumeSummary {
  readonly uuid: DomainUuid;
  /** The domain's name as the newest generation has it; '' when there is none. */
  readonly name: string;
  readonly holder: Holder | undefined;
  readonly tombstoned: boolean;
  /** Of one that this host cannot open: what its name tells, and neither time nor reason. */
  readonly head: Pick<Manifest, 'slot' | 'epoch' | 'host' | 'time' | 'reason' | 'digest'> | undefined;
  readonly generations: number;
  readonly diverged: number;
  readonly pins: number;
  /** Hosts in the log that have no record on the share. */
  readonly strangers?: readonly HostName[];
  /** Why the log or the head cannot be read; `KEY_MISSING`: it is fine, but this host has no key for it. */
  readonly problem?: ErrorRecord;
}

export interface ShareAdministration {
  /** Destroys a volume. Refused while another host holds it and is alive. */
  purge(call: PurgeCall): Promise<PurgeOutcome>;
  /** Keeps a generation from pruning. The same again is fine; another under that name is refused. */
  pin(call: MakePinCall): Promise<Pin>;
  /** @throws MirrorError `NO_SUCH_GENERATION` */
  unpin(call: PinCall): Promise<void>;
  /** By name. */
  pins(call: DomainCall): Promise<Pin[]>;
  fetchPin(call: PinCall): Promise<Generation>;
  /** Encrypts what a volume holds for the recipients of this host's configuration, some files at a time. */
  reseal(call: ResealCall): Promise<Resealed>;
  /** Sets the recipient that everything on the share must be encrypted for; `undefined`: none. */
  setEscrow(call: EscrowCall): Promise<ShareIdentity>;
  /** Hosts and volumes, without making this host look alive. */
  survey(call: SurveyCall): Promise<Survey>;
  summarise(call: DomainCall): Promise<VolumeSummary>;
  /** Declares a host dead as of its last beat. @throws MirrorError `USAGE` */
  declareFenced(call: FenceCall): Promise<void>;
  /** Tries, in this host's own directory, what the protocol needs of the share. */
  examine(call: { readonly shareId: string | undefined }): Promise<ShareExamination>;
}

export type ShareService = ShareStore & ShareAdministration;
export type ShareOperation = keyof ShareService;
