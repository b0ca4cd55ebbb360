/**
 * storage-events: what the storage client tells its owner for the log and the metrics. Nothing depends on anybody listening.
 */
import type { ErrorCode } from '../model/errors.js';
import type { ShareOperation } from '../volume/share-administration.js';

export type StorageEvent =
  | { readonly kind: 'process-started'; readonly pid: number | undefined }
  | { readonly kind: 'process-ready'; readonly pid: number | undefined }
  /** Its start failed, or it ended by itself. */
  | { readonly kind: 'process-failed'; readonly pid: number | undefined; readonly why: string }
  /** It did not answer `request` in time and takes no more requests. */
  | { readonly kind: 'process-stalled'; readonly pid: number | undefined; readonly request: string }
  /** Killed; `unanswered` requests had no answer. */
  | { readonly kind: 'process-killed'; readonly pid: number | undefined; readonly unanswered: number }
  | { readonly kind: 'process-gone'; readonly pid: number | undefined; readonly how: string }
  | {
      readonly kind: 'request-ended';
      readonly operation: ShareOperation;
      readonly volume: string | undefined;
      readonly durationMs: number;
      readonly outcome: 'ok' | ErrorCode;
    };

export interface StorageGauges {
  /** Requests that wait for their turn. */
  readonly queued: number;
  /** Requests that a process works on. */
  readonly inFlight: number;
  /** Storage processes that have not gone, stuck ones included. */
  readonly processes: number;
  /** Killed and not gone. */
  readonly stuck: number;
}
