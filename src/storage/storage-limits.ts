/**
 * storage-limits: the bounds of the storage client.
 */
import type { Config } from '../model/config.js';

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

/**
 * The limits that the configuration sets. A process is tried at least once a heartbeat, so that the share's return is noticed within
 * one, and no start of a domain ends before its deadline without a try.
 */
export function configuredLimits({ limits, timing }: Pick<Config, 'limits' | 'timing'>): StorageLimits {
  const { backOffFirstMs, backOffMaxMs } = DEFAULT_STORAGE_LIMITS;
  return {
    ...DEFAULT_STORAGE_LIMITS,
    queuePerVolumeMax: limits.queuePerVolume,
    queueMax: limits.queue,
    processesMax: limits.storageProcesses,
    backOffFirstMs: Math.min(backOffFirstMs, timing.heartbeatMs),
    backOffMaxMs: Math.min(backOffMaxMs, timing.heartbeatMs),
  };
}

/** Threads for file calls in the storage process: one for every request in flight, and some for the heartbeat and for spare. */
export const STORAGE_THREADS = 16;
