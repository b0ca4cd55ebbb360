/**
 * environment: the ports for what a pure program must not take for itself: time, timers and randomness. The adapters live in
 * `main.ts`; the simulator replaces them by virtual time and a seed.
 */

export interface Clock {
  /** Wall clock, milliseconds since the epoch. For display and file names only: no decision on the share depends on it. */
  nowMs(): number;
  /** Monotonic milliseconds, for deadlines and lags. */
  monotonicMs(): number;
  /** Calls back once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

export interface Random {
  /** `length` bytes as lower-case hexadecimal. */
  hex(length: number): string;
  /** Uniform in [0, 1), for jitter. */
  fraction(): number;
}

/** Resolves after `delayMs` of the given clock. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
