/**
 * clock: virtual time. Nothing waits; time jumps to the next timer once all code that can run has run.
 *
 *   run loop: drain microtasks → deliver outside work → drain … → advance to the earliest timer → call it back → again
 *
 * I1 Between two timers every promise chain has run to its end. A `process.nextTick` callback runs only when V8's microtask queue is empty,
 *    however long the chains were, so one tick is an exact drain. (Counting microtask turns would only guess at the length of the chains;
 *    `setImmediate` is as exact, and twice as slow.) It holds for ticks that are asked for in a microtask, so a run begins with a tick more.
 * I2 Timers of one time fire in the order in which they were set.
 * I3 Real asynchronous work (libuv's threads: zlib's callback API) would finish at a time of its own. Code that needs it must announce it with
 *    `outside`: virtual time stands still until it is done, and several are delivered in the order in which they began, so that a schedule stays a
 *    function of its seed. Such work may compute, but must not touch the simulated world. Synchronous zlib needs none of this, and is the faster
 *    choice for TPM-sized states (8 KB: 65 µs against 175 µs).
 * Not covered: outside work that is not announced (`runUntilSettled` ends in an error that says so), and code under test that uses
 * `process.nextTick` itself, as Node's own streams do.
 */
import type { Clock } from '../../src/model/environment.js';
import type { SimulatedProcess } from './process.js';
import { TimerQueue } from './timer-queue.js';

/** The wall clock at virtual time 0: 2026-01-01T00:00:00Z. */
export const EPOCH_MS = Date.UTC(2026, 0, 1);

export class VirtualClock {
  readonly #timers = new TimerQueue();
  readonly #outside: Promise<() => void>[] = [];
  #nowMs = 0;

  /** Virtual milliseconds since the start. */
  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = this.#timers.add(this.#nowMs + Math.max(0, delayMs), callback);
    return () => {
      timer.callback = undefined;
    };
  }

  /** Real asynchronous work, see I3. */
  outside<T>(work: () => Promise<T>): Promise<T> {
    const result = work();
    return new Promise((resolve) => {
      const deliver = (): void => {
        resolve(result);
      };
      this.#outside.push(
        result.then(
          () => deliver,
          () => deliver,
        ),
      );
    });
  }

  /** Runs everything due up to and including `untilMs`; time stands at `untilMs` afterwards. */
  async run(untilMs: number): Promise<void> {
    await nextTick();
    do await this.#quiesce();
    while (this.#fireNext(untilMs));
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /**
   * Runs until the promise is settled, and returns its outcome.
   *
   * @throws Error when it is still pending after `limitMs` more of virtual time, or when nothing is left that could settle it
   */
  async runUntilSettled<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    await nextTick();
    const untilMs = this.#nowMs + limitMs;
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    const isSettled = (): boolean => settled;
    do {
      await this.#quiesce();
      if (isSettled()) return promise;
    } while (this.#fireNext(untilMs));
    const left = this.#timers.peek() ? `${limitMs} ms of virtual time have passed` : 'no timer is left';
    throw new Error(
      `stalled at ${this.#nowMs.toFixed(3)} ms: ${left}, or it awaits real work not announced by outside()`,
    );
  }

  /** Fires the next timer due by `untilMs`; false when there is none. */
  #fireNext(untilMs: number): boolean {
    const next = this.#timers.peek();
    if (!next?.callback || next.atMs > untilMs) return false;
    this.#timers.shift();
    this.#nowMs = next.atMs;
    next.callback();
    return true;
  }

  async #quiesce(): Promise<void> {
    await nextTick();
    for (let work = this.#outside.shift(); work; work = this.#outside.shift()) {
      const deliver = await work;
      deliver();
      await nextTick();
    }
  }
}

function nextTick(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve);
  });
}

/** A process's view of time: a wall clock that is wrong by `skewMs`, and timers that die, and pause, with the process. */
export class HostClock implements Clock {
  readonly #time: VirtualClock;
  readonly #process: SimulatedProcess;
  readonly #skewMs: number;

  constructor(time: VirtualClock, process: SimulatedProcess, skewMs = 0) {
    this.#time = time;
    this.#process = process;
    this.#skewMs = skewMs;
  }

  nowMs(): number {
    return EPOCH_MS + Math.floor(this.#time.nowMs + this.#skewMs);
  }

  monotonicMs(): number {
    return this.#time.nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    let cancelled = false;
    // Cancelled also when it has come to a paused process and waits to be run.
    const cancel = this.#time.after(delayMs, () => {
      this.#process.run(() => {
        if (!cancelled) callback();
      });
    });
    return () => {
      cancelled = true;
      cancel();
    };
  }
}
