/**
 * mirror: what is put to the test: the product, or the plain publisher that serves as the control.
 */
import type { Host } from './machines/host.js';
import type { NfsServer } from './machines/nfs-server.js';

/** Between two looks into a guest, each of which takes processor time from what is waited for. */
export const LOOK_INTERVAL_MS = 400;

/** One scenario's share, VM and directories, on every host the same. */
export interface Place {
  readonly uuid: string;
  /** The share's root, below the mount point. */
  readonly share: string;
  /** The same on the server's disk. */
  readonly shareOnServer: string;
  /** On the host's own disk. */
  readonly stateDirectory: string;
  readonly swtpmDirectory: string;
  /** In the host's memory: sockets. */
  readonly runDirectory: string;
  readonly timing: Timing;
  /** Who works on the share. */
  readonly uid: number;
  /** Where a TPM works: on its host's own disk, or on the share. */
  readonly placement: 'mirror' | 'direct';
  /** How many generations are kept. */
  readonly generations: number;
}

export interface Timing {
  readonly heartbeatMs: number;
  readonly expiryMs: number;
  readonly shareDeadlineMs: number;
}

export interface Permission {
  readonly granted: boolean;
  /** The decision, or the reason of the refusal. */
  readonly because: string;
}

export interface Acknowledged {
  readonly digest: string;
  readonly slot: number;
}

/** What tells whether state that is not on the share is safe on its host. */
export type Safety = 'published' | 'spooled' | 'fenced' | 'unknown';

export interface Mirror {
  readonly name: 'product' | 'control';
  makeShare(server: NfsServer): Promise<void>;
  /** Starts what publishes on a host, unless it runs already, and resolves when it serves. */
  startService(host: Host): Promise<void>;
  /** SIGKILL. */
  killService(host: Host): Promise<void>;
  /** Asks to start the VM on a host; when granted, its TPM's state is in place. */
  prepare(host: Host): Promise<Permission>;
  started(host: Host): Promise<void>;
  stopped(host: Host): Promise<void>;
  /** Asks to destroy, from a host, what the share has of the VM. */
  purge(host: Host): Promise<Permission>;
  /** What on the server's disk may become the VM's state again, a path a line; empty for nothing. */
  remains(server: NfsServer): Promise<string>;
  /** Makes the service look at the state as it is now; what it then says of its safety includes that. */
  look(host: Host): Promise<void>;
  /** What a line of the service acknowledges. */
  acknowledgementIn(line: string): Acknowledged | undefined;
  /** Whether a frame on the wire carries the request that makes a new state the head. */
  isCommit(frame: Buffer): boolean;
  safety(host: Host): Promise<Safety>;
  /** Content digest of the head as a host reads it from the share, or its first digits; `undefined` for none. */
  head(host: Host): Promise<string | undefined>;
  /** What reading back everything on the server's disk finds wrong; empty for nothing. */
  verify(server: NfsServer): Promise<string>;
  /** Content digests, or their first digits, of the copies on the share that lost a race. */
  diverged(host: Host): Promise<readonly string[]>;
}
