/**
 * storage-client-rig: a storage client on fake processes and a clock that stands still.
 */
import { MirrorError } from '../../src/model/errors.js';
import { StorageClient } from '../../src/storage/storage-client.js';
import type { StorageEvent } from '../../src/storage/storage-events.js';
import type { StorageLimits } from '../../src/storage/storage-limits.js';
import { FakeStorageProcesses } from './fake-storage-processes.js';
import { ManualClock, settled } from './manual-clock.js';

/** Deadline of the rig's client, milliseconds. */
export const DEADLINE_MS = 5_000;
export const STARTUP_MS = 10_000;
/** Past a deadline and the grace that an answer in the pipe is given. */
export const OVERRUN_MS = DEADLINE_MS + 100;

export interface StorageClientRig {
  readonly client: StorageClient;
  readonly clock: ManualClock;
  readonly processes: FakeStorageProcesses;
  readonly events: StorageEvent[];
}

export function storageClientRig(limits: Partial<StorageLimits> = {}): StorageClientRig {
  const clock = new ManualClock();
  const processes = new FakeStorageProcesses();
  const events: StorageEvent[] = [];
  const client = new StorageClient({
    fork: processes.fork,
    clock,
    deadlineMs: DEADLINE_MS,
    limits: { startupMs: STARTUP_MS, ...limits },
    onEvent: (event) => events.push(event),
  });
  return { client, clock, processes, events };
}

/** A rig whose first process has answered a heartbeat. */
export async function servingRig(limits: Partial<StorageLimits> = {}): Promise<StorageClientRig> {
  const rig = storageClientRig(limits);
  const beat = rig.client.beat({ shareId: undefined });
  rig.processes.latest.ready();
  rig.processes.latest.answer({ latencyMs: 1 });
  await beat;
  return rig;
}

/** How a request ended, or `waiting`. */
export interface Outcome {
  state: 'waiting' | 'ok' | MirrorError['code'];
  value?: unknown;
  error?: MirrorError;
}

/** Follows a request without waiting for it. */
export function outcomeOf(request: Promise<unknown>): Outcome {
  const outcome: Outcome = { state: 'waiting' };
  request.then(
    (value) => {
      outcome.state = 'ok';
      outcome.value = value;
    },
    (error: unknown) => {
      if (!(error instanceof MirrorError)) throw error;
      outcome.state = error.code;
      outcome.error = error;
    },
  );
  return outcome;
}

export { settled };
