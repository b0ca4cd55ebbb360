/**
 * share-context: what every operation on a share needs, and where things lie on it.
 */
import type { Sealing } from '../bundle/sealing.js';
import type { Clock, Random } from '../model/environment.js';
import type { FileSystem } from '../model/filesystem.js';
import { formatSlot, type Slot } from '../model/generation-name.js';
import type { Author, HostIdentity } from '../model/host-identity.js';
import type { DomainUuid } from '../model/identifiers.js';

export interface ShareContext {
  readonly fs: FileSystem;
  /** Absolute path of the share's root. */
  readonly root: string;
  /** This host. */
  readonly self: HostIdentity;
  /** `timing.host_expiry` of its configuration, ms. @default 30000 */
  readonly expiryMs?: number | undefined;
  /** Nobody's clock is believed: a host is dead when its beat is not seen to change. */
  readonly isTimeObserved?: boolean;
  /** Of the program, for other hosts to see; `undefined`: they are not told. */
  readonly version?: string | undefined;
  /** The share that this host knows; another one is refused. `undefined`: it knows none yet. */
  readonly shareId?: string | undefined;
  readonly clock: Clock;
  /** How long one host's record or heartbeat may take to be read before others go on without it, ms; `undefined`: unbounded. */
  readonly hostReadMs?: number | undefined;
  /** The same for one generation, where others are read beside it. */
  readonly generationReadMs?: number | undefined;
  readonly random: Random;
  /** What generations are encrypted with; `undefined`: they are written in the clear, and sealed ones cannot be opened. */
  readonly sealing?: Sealing | undefined;
}

const EXPIRY_MS = 30_000;

export function expiryOf({ expiryMs }: Pick<ShareContext, 'expiryMs'>): number {
  return expiryMs ?? EXPIRY_MS;
}

export const DIRECTORY_MODE = 0o700;
/** Hexadecimal digits of a token, and of a generation's nonce. */
export const TOKEN_DIGITS = 16;
/** Prefix of a file that is still being written; nothing ever reads one. */
export const TEMPORARY_PREFIX = '.tmp-';

/** Begins the name of an archive that `reseal` writes aside: nothing that a publish could name, however late. */
export const RESEAL_PREFIX = `${TEMPORARY_PREFIX}reseal-`;

export interface VolumePaths {
  readonly root: string;
  readonly log: string;
  readonly gen: string;
  readonly diverged: string;
  readonly pins: string;
  readonly live: string;
}

export function markerPath(share: Pick<ShareContext, 'root'>): string {
  return `${share.root}/swtpm-mirror.json`;
}

export function volumesPath(share: Pick<ShareContext, 'root'>): string {
  return `${share.root}/volumes`;
}

export function hostsPath(share: Pick<ShareContext, 'root'>): string {
  return `${share.root}/hosts`;
}

/** Where volumes go to be deleted. */
export function purgedPath(share: Pick<ShareContext, 'root'>): string {
  return `${share.root}/purged`;
}

export function volumePaths(share: Pick<ShareContext, 'root'>, uuid: DomainUuid): VolumePaths {
  return pathsAt(`${volumesPath(share)}/${uuid}`);
}

/** Where things lie in a volume at `root`. */
export function pathsAt(root: string): VolumePaths {
  return {
    root,
    log: `${root}/log`,
    gen: `${root}/gen`,
    diverged: `${root}/diverged`,
    pins: `${root}/pins`,
    live: `${root}/live`,
  };
}

/** Where swtpm works on the share itself, in the run that began with the claim `live`; see `live.ts`. */
export function livePath(share: Pick<ShareContext, 'root'>, uuid: DomainUuid, live: Slot): string {
  return `${volumePaths(share, uuid).live}/${formatSlot(live)}`;
}

export function slotPath(paths: VolumePaths, slot: Slot): string {
  return `${paths.log}/${formatSlot(slot)}`;
}

/** Who an entry of this host is by. */
export function authorOf({ self }: Pick<ShareContext, 'self'>): Required<Author> {
  return { host: self.name, id: self.id, instance: self.instance };
}

export function newToken(context: ShareContext): string {
  return context.random.hex(TOKEN_DIGITS / 2);
}

/** RFC 3339 UTC by this host's wall clock: for display only. */
export function timestamp(context: Pick<ShareContext, 'clock'>): string {
  return new Date(context.clock.nowMs()).toISOString();
}
