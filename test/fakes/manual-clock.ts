/**
 * manual-clock: a `Clock` that stands still until a test moves it on.
 */
import type { Clock } from '../../src/model/environment.js';

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

const START_MS = Date.parse('2026-01-01T00:00:00Z');

export class ManualClock implements Clock {
  readonly #timers = new Set<Timer>();
  #elapsedMs = 0;
  #sleptMs = 0;
  #order = 0;

  nowMs(): number {
    return START_MS + this.#elapsedMs + this.#sleptMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueMs: this.#elapsedMs + delayMs, order: this.#order++, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that are set and neither cancelled nor called. */
  get pending(): number {
    return this.#timers.size;
  }

  /** The machine sleeps: only the wall clock goes on. */
  sleep(forMs: number): void {
    this.#sleptMs += forMs;
  }

  /** Lets time pass: every timer that falls due runs at its own moment, and what it set off settles before the next. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#elapsedMs + byMs;
    await settled();
    for (let timer = this.#next(untilMs); timer; timer = this.#next(untilMs)) {
      this.#timers.delete(timer);
      this.#elapsedMs = timer.dueMs;
      timer.callback();
      await settled();
    }
    this.#elapsedMs = untilMs;
  }

  #next(untilMs: number): Timer | undefined {
    return [...this.#timers]
      .filter(({ dueMs }) => dueMs <= untilMs)
      .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0];
  }
}

/** Everything that waits for nothing but a turn has had it. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
