/**
 * agent-context: what the agent works with, all of it from outside. The program wires the real parts, the simulator its own.
 */
import type { DefinitionsFile } from '../host/definitions-file.js';
import type { Journal } from '../host/journal.js';
import type { Spool } from '../host/spool.js';
import type { MovedLink, TakenLink } from '../host/state-links.js';
import type { NvramOnHost } from '../host/nvram-firmware.js';
import type { StateStamp } from '../host/state-stamp.js';
import type { DomainCare, OwnTpmDirectory } from '../libvirt/domain-care.js';
import type { Capture } from '../model/capture.js';
import type { Config } from '../model/config.js';
import type { Clock, Random } from '../model/environment.js';
import type { MirrorError } from '../model/errors.js';
import type { HostIdentity, IdentityNews } from '../model/host-identity.js';
import type { DomainUuid, HostName } from '../model/identifiers.js';
import type { RunClaim } from '../model/run-claim.js';
import type { LibtpmsVersion } from '../model/tpm-format.js';
import type { ShareAdministration } from '../volume/share-administration.js';
import type { ShareStore } from '../volume/share-store.js';
import type { DomainFeed } from './domain-feed.js';
import type { LeftOut } from './left-out.js';
import type { DomainPlace } from './domain-place.js';
import type { Meter } from './meter.js';
import type { Pulse } from './pulse.js';

export interface RestorePlacing {
  /** The domain's firmware variables give way to fresh ones, which libvirt makes. */
  readonly clearNvram?: boolean;
}

/** A domain's state files on this host. */
export interface StateFiles {
  /**
   * A validated reading; `final` when the domain's swtpm has ended, so that one look is enough.
   *
   * @throws MirrorError `NO_STATE`, `STATE_INVALID`, `STATE_UNSTABLE`, `HOST_IO`
   */
  read(place: DomainPlace, final: boolean): Promise<Capture>;
  /**
   * What shows that the files are the same as before, without reading them (`host/state-stamp.ts`): `before` itself, when nothing shows that they are
   * not; `undefined` where it cannot be told, because they lie on the share.
   */
  stamp(place: DomainPlace, before: StateStamp | undefined): Promise<StateStamp | undefined>;
  /** When the TPM's files were last changed, ns (`stateChangedAtNs`); `undefined` where it cannot be told. */
  changedAtNs(place: DomainPlace): Promise<bigint | undefined>;
  /**
   * Puts a capture in place; what it replaces is set aside first. Where swtpm is to work on the share itself (`place.live`), the share has the TPM's files
   * already, and a link to them is put in place.
   */
  restore(place: DomainPlace, capture: Capture, options?: RestorePlacing): Promise<void>;
  /**
   * Keeps a copy of the TPM's files in this host's state directory, whatever they are: what cannot
   * be stored may be deleted by the domain's manager. @returns where; `undefined` for nothing
   */
  keepAside(place: DomainPlace, why: string): Promise<string | undefined>;
  /** What stands in the place of the domain's firmware variables, and what its firmware expects there. */
  lookAtNvram(place: DomainPlace): Promise<NvramOnHost>;
  /** Removes directories of the domain that are empty, so that libvirt runs swtpm_setup for a new TPM. */
  removeEmpty(place: DomainPlace): Promise<void>;
  /** The domains with a symbolic link in place of one of their TPM directories. */
  linked(): Promise<readonly DomainUuid[]>;
  /** Takes such links away, and nothing that they point to. @returns what was taken */
  takeLinksAway(uuid: DomainUuid): Promise<readonly TakenLink[]>;
  /** Somebody's own links that were taken away, by any run of the program, and in whose place there is nothing yet. */
  movedLinks(): Promise<readonly MovedLink[]>;
}

/** What runs on this host, seen without anybody's help. */
export interface RunningDomains {
  /** The domains that have a running swtpm. */
  list(): Promise<ReadonlySet<DomainUuid>>;
  /** Whether a domain's VM was started to take in a guest from elsewhere: a migration, or a save file. `undefined` when nobody can tell. */
  takesGuestIn(uuid: DomainUuid): Promise<boolean | undefined>;
  /**
   * Whether the QEMU of a domain runs, for one that has no running swtpm: `gone` only when it was seen to run before, and `unknown`
   * when nobody can tell.
   */
  guest(uuid: DomainUuid): Promise<'runs' | 'gone' | 'unknown'>;
  /** Which domain works in a directory that its owner chose; `undefined`: in libvirt's own place. */
  know?(uuid: DomainUuid, directory: string | undefined): void;
  /** Directories in which a TPM is at work that belong to no domain that is known. */
  strangers?(): Promise<readonly string[]>;
}

/** Which guests run on this host, as the manager of its domains sees it. */
export interface RunningGuests {
  /** Not those that are paused, or still on their way from another host; `undefined` when nobody can tell. */
  list(): Promise<ReadonlySet<DomainUuid> | undefined>;
  /** Those that are defined, running or not; `undefined` when nobody can tell. */
  defined(): Promise<ReadonlySet<DomainUuid> | undefined>;
  /** Those that are defined and shut off, with no start or stop of theirs under way; `undefined` when nobody can tell. */
  inactive(): Promise<ReadonlySet<DomainUuid> | undefined>;
  /** All that there are: a transient one from its start to its end. `undefined` when nobody can tell. */
  known(): Promise<ReadonlySet<DomainUuid> | undefined>;
  /** A domain's XML; '' for one that is not known, `undefined` when nobody can tell. */
  describe(uuid: DomainUuid): Promise<string | undefined>;
}

/** A domain's live metadata, where its manager keeps any. */
export interface RunMetadataWriter {
  /** Never rejects. @returns whether the claim stands there now */
  write(uuid: DomainUuid, claim: RunClaim): Promise<boolean>;
  close(): void;
}

/** Where a domain's run leaves its claim, so that it goes with the guest. */
export interface RunClaims {
  /** @param claim `undefined` while the run has none that stands */
  show(uuid: DomainUuid, claim: RunClaim | undefined): void;
}

/** Tells that something happened to some domain, as long as its manager can be followed. */
export interface DomainEventSource {
  /**
   * Begins to follow; what happened before is not told.
   *
   * @param onEvent something happened: what, is to be looked for
   * @param onEnd once, when nothing more is told: the manager has ended, or there is none
   * @returns ends it; `onEnd` is not called then
   */
  follow(onEvent: () => void, onEnd: () => void): () => void;
}

/** Marks domains dirty when their files change. */
export interface ChangeSource {
  /** Watching a domain again takes its new place, and files that have appeared since. */
  watch(place: DomainPlace): Promise<void>;
  unwatch(uuid: DomainUuid): Promise<void>;
  /** Why changes may be noticed late just now. */
  trouble?(): MirrorError | undefined;
  close(): Promise<void>;
}

/** Keeps two programs on this host from working on one domain at a time. */
export interface DomainLocks {
  withDomain<Result>(uuid: DomainUuid, work: () => Promise<Result>): Promise<Result>;
}

/** The share that this host belongs to, remembered so that another one in its place is noticed. */
export interface KnownShare {
  read(): Promise<string | undefined>;
  write(shareId: string): Promise<void>;
}

/** What is to be remembered of the domains' definitions. */
export type DefinitionsMemory = Pick<DefinitionsFile, 'read' | 'write'>;

/** Structured log; fields never hold state, keys or domain XML. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface AgentContext {
  readonly config: Config;
  /** This host. */
  readonly identity: HostIdentity;
  /** What is new about who it is, and its memory of that. */
  readonly names?: {
    readonly news: IdentityNews;
    /** These former names are gone from the share. */
    left(names: readonly HostName[]): Promise<void>;
  };
  /** This boot of the host. */
  readonly bootId: string;
  /** When this boot began, by this host's wall clock. */
  readonly bootedAtMs: number;
  readonly share: ShareStore;
  /** Keeps a generation as a snapshot. */
  readonly snapshots: Pick<ShareAdministration, 'pin' | 'unpin' | 'pins'>;
  readonly knownShare: KnownShare;
  readonly journal: Journal;
  readonly spool: Spool;
  readonly files: StateFiles;
  readonly running: RunningDomains;
  readonly guests: RunningGuests;
  /** Where the TPM of a domain that runs works (see `own-place`). */
  readonly placeOf?: (
    care: Extract<DomainCare, { kind: 'looked-after' }>,
  ) => Promise<{ readonly tpm: OwnTpmDirectory | null } | LeftOut>;
  readonly events?: DomainEventSource;
  readonly runMetadata?: RunMetadataWriter;
  /** The agent's own; a command, which may be libvirt's hook, has none. */
  readonly runClaims?: RunClaims;
  /** The agent's own: whether it stood still. */
  readonly pulse?: Pick<Pulse, 'noticedSinceMs'>;
  readonly definitions?: DefinitionsMemory;
  /** Remembers which of libvirt's daemons runs the hook. */
  readonly hookEvidence?: { note(caller: string | undefined): Promise<void> };
  /** Room on this host's disk (see `host/reserve`). */
  readonly reserve?: { keep(): Promise<void> };
  /** The libtpms that this host's swtpm uses; `undefined` when it cannot be told. */
  readonly libtpms?: () => Promise<LibtpmsVersion | undefined>;
  readonly locks: DomainLocks;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meter?: Meter;
  readonly feed?: DomainFeed;
}
