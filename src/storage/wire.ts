/**
 * wire: the messages between a host's process and its storage process.
 *
 *   parent → child   start (once, first), then requests
 *   child → parent   ready or failed (once), then one reply for each request, in any order
 *
 * They travel over Node's IPC channel with the structured clone serialization, which keeps `Uint8Array`, `bigint` and `undefined` as
 * they are. A result's bytes may be a view of a larger buffer.
 */
import type { SealingKeys } from '../bundle/sealing.js';
import type { ErrorRecord } from '../model/errors.js';
import type { HostIdentity } from '../model/host-identity.js';
import type { ShareOperation } from '../volume/share-administration.js';

/** What a storage process works on and as whom. */
export interface StorageParameters {
  /** Absolute path of the share's root. */
  readonly root: string;
  /** The host. */
  readonly self: HostIdentity;
  /** These two as in `ShareContext`. */
  readonly expiryMs?: number | undefined;
  readonly isTimeObserved?: boolean | undefined;
  /** How long one generation may take to be read where others are read beside it, ms; `undefined`: unbounded. */
  readonly generationReadMs?: number | undefined;
  /** The share that this host knows, when it knows one. */
  readonly shareId?: string | undefined;
  /** Who the storage process becomes; 0 leaves it as it is. */
  readonly uid: number;
  readonly gid: number;
  /** What it seals bundles for and opens them with, where the configuration asks for encryption. */
  readonly keys?: SealingKeys | undefined;
}

export interface StartMessage {
  readonly kind: 'start';
  readonly parameters: StorageParameters;
}

export interface RequestMessage {
  readonly kind: 'request';
  /** Unique for the parent's life, so that a reply finds its request. */
  readonly id: number;
  readonly operation: ShareOperation;
  readonly call: object;
}

export type ParentMessage = StartMessage | RequestMessage;

export type Reply =
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: ErrorRecord };

export type ChildMessage =
  { readonly kind: 'ready' } | { readonly kind: 'failed'; readonly error: ErrorRecord } | Reply;

/**
 * Both ends are one program of one version, so that the kind tells the whole shape; the check is against a message of something else on the
 * channel.
 */
export function isParentMessage(message: unknown): message is ParentMessage {
  return hasKind(message, ['start', 'request']);
}

export function isChildMessage(message: unknown): message is ChildMessage {
  return hasKind(message, ['ready', 'failed', 'result', 'error']);
}

function hasKind(message: unknown, kinds: readonly string[]): boolean {
  if (typeof message !== 'object' || message === null || !('kind' in message)) return false;
  return typeof message.kind === 'string' && kinds.includes(message.kind);
}
