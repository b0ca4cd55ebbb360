/**
 * share-administration: what an operator asks of a share beyond what its agents need; `share-store.ts` says how calls travel and fail.
 *
 * Nothing here commits to a log, but by a claim of its own: each of these is safe beside a running domain.
 */
import type { Manifest } from '../bundle/manifest.js';
import type { ErrorRecord } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
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

export interface SurveyCall {
  readonly hostExpiryMs: number;
  readonly shareId: string | undefined;
}

export interface HostPresence {
  readonly host: HostName;
  readonly alive: boolean;
  /** By the server's clock; `undefined` when it said goodbye, or never beat. */
  readonly heartbeatAgeMs: number | undefined;
}

export interface Survey {
  readonly share: ShareIdentity;
  /** By name. */
  readonly hosts: readonly HostPresence[];
  readonly volumes: readonly DomainUuid[];
  /** Names in `volumes/` and `purged/` that are no volume, or one that was not purged to its end. */
  readonly strays: readonly string[];
}

/** One volume at a glance. */
export interface VolumeSummary {
  readonly uuid: DomainUuid;
  /** The domain's name as the newest generation has it; '' when there is none. */
  readonly name: string;
  readonly holder: Holder | undefined;
  readonly tombstoned: boolean;
  readonly head: Pick<Manifest, 'slot' | 'epoch' | 'host' | 'time' | 'reason' | 'digest'> | undefined;
  readonly generations: number;
  readonly diverged: number;
  readonly pins: number;
  /** Why the log or the head cannot be read. */
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
  /** Hosts and volumes, without making this host look alive. */
  survey(call: SurveyCall): Promise<Survey>;
  summarise(call: DomainCall): Promise<VolumeSummary>;
  /** Tries, in this host's own directory, what the protocol needs of the share. */
  examine(call: { readonly shareId: string | undefined }): Promise<ShareExamination>;
}

export type ShareService = ShareStore & ShareAdministration;
export type ShareOperation = keyof ShareService;
