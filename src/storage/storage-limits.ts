/**
 * storage-limits: the bounds of the storage client.
 */
export interface StorageLimits {
  /**
   * How long a storage process may take from its start until it takes requests. Many times what it needs: one that is killed for being slow on
   * an overloaded host is followed by another that is no faster.
   */
  readonly startupMs: number;
  readonly queuePerVolumeMax: number;
  readonly queueMax: number;
  /** Requests that the storage process works on at a time; below `STORAGE_THREADS`, so that each finds a thread. */
  readonly inFlightMax: number;
  /** Storage processes that have not gone; at least 2: one that is stuck, and its replacement. */
  readonly processesMax: number;
  readonly backOffFirstMs: number;
  readonly backOffMaxMs: number;
}

export const DEFAULT_STORAGE_LIMITS: StorageLimits = {
  startupMs: 30_000,
  queuePerVolumeMax: 16,
  queueMax: 1024,
  inFlightMax: 8,
  processesMax: 4,
  backOffFirstMs: 1_000,
  backOffMaxMs: 10_000,
};

/** Threads for file calls in the storage process: one for every request in flight, and some for the heartbeat and for spare. */
export const STORAGE_THREADS = 16;
