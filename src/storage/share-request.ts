/**
 * share-request: one operation that somebody waits for, from its call to its one outcome.
 *
 * The caller's patience is counted from the call, the time in the queue included. (How long a storage process may be silent is counted from the
 * sending, by `process-slot.ts`: an overloaded queue must not look like a hung share.)
 */
import type { Clock } from '../model/environment.js';
import type { MirrorError } from '../model/errors.js';
import type { ShareOperation } from '../volume/share-administration.js';
import { laneOf, nameOf, patienceMs, volumeOf, type Lane } from './operations.js';
import { onOverrun } from './overrun-timer.js';

export interface RequestTiming {
  readonly clock: Clock;
  readonly deadlineMs: number;
  /** Added to the caller's patience when a storage process has to be started first. */
  readonly startupMs: number;
  /** Called once, unless the request was settled before. */
  readonly onOverrun: (request: ShareRequest) => void;
}

export class ShareRequest {
  readonly id: number;
  readonly operation: ShareOperation;
  readonly call: object;
  readonly lane: Lane;
  readonly volume: string | undefined;
  /** For messages: `publish of 6b0c…`. */
  readonly name: string;
  /** How long an answer may take. */
  readonly patienceMs: number;
  /** How long the caller waits in all. */
  readonly allowanceMs: number;
  /** Rejects with a `MirrorError` only. */
  readonly answer: Promise<unknown>;
  #sent = false;
  #settled = false;
  readonly #cancelTimer: () => void;
  #fulfil!: (result: unknown) => void;
  #fail!: (error: MirrorError) => void;

  constructor(id: number, operation: ShareOperation, call: object, timing: RequestTiming) {
    this.id = id;
    this.operation = operation;
    this.call = call;
    this.lane = laneOf(operation, call);
    this.volume = volumeOf(call);
    this.name = nameOf(operation, call);
    this.patienceMs = patienceMs(operation, timing.deadlineMs);
    this.allowanceMs = this.patienceMs + timing.startupMs;
    this.answer = new Promise((resolve, reject) => {
      this.#fulfil = resolve;
      this.#fail = reject;
    });
    this.#cancelTimer = onOverrun(timing.clock, this.allowanceMs, () => {
      timing.onOverrun(this);
    });
  }

  /** Whether a storage process was told to do it: from then on it may take place. */
  get sent(): boolean {
    return this.#sent;
  }

  get settled(): boolean {
    return this.#settled;
  }

  markSent(): void {
    this.#sent = true;
  }

  /** The first outcome counts; a later one, such as an answer after the deadline, is nobody's any more. */
  resolve(result: unknown): void {
    if (this.#settle()) this.#fulfil(result);
  }

  reject(error: MirrorError): void {
    if (this.#settle()) this.#fail(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#cancelTimer();
    return true;
  }
}
