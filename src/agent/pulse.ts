/**
 * pulse: since when this program may have noticed nothing.
 *
 * A program that stands still (SIGSTOP, a starved host, a VM that its own host has suspended) reads its file events when it goes on,
 * and they bear no time. So it beats. A beat that comes late proves a stall, which began after the beat before it; what is noticed
 * then may have happened at any time since.
 *
 * I1 What is noticed happened at most `BEAT_MS + LATE_MS` before `noticedSinceMs`, whatever stalls there were.
 * I2 A stall ends with the first beat in time after it: by then everything that came during the stall has been read.
 * Not guaranteed: events that are lost (`agent/domain/reread.ts`), or that the kernel tells late.
 */
import type { Clock } from '../model/environment.js';

const BEAT_MS = 500;
/** A busy program's timers are late by less. */
const LATE_MS = 400;

export class Pulse {
  readonly #clock: Clock;
  #lastMs: number | undefined;
  /** The last beat before a stall of which something may still be unread. */
  #stalledSinceMs: number | undefined;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): void {
    this.#lastMs = this.#clock.monotonicMs();
    this.#beatLater();
  }

  close(): void {
    this.#cancel?.();
    this.#lastMs = undefined;
    this.#stalledSinceMs = undefined;
  }

  /** The earliest moment at which what is noticed now may have happened, ms by the monotonic clock; without a stall that is now. */
  noticedSinceMs(): number {
    return this.#stall() ?? this.#clock.monotonicMs();
  }

  #beatLater(): void {
    this.#cancel = this.#clock.after(BEAT_MS, () => {
      this.#stalledSinceMs = this.#isLate() ? this.#stall() : undefined;
      this.#lastMs = this.#clock.monotonicMs();
      this.#beatLater();
    });
  }

  #stall(): number | undefined {
    return this.#stalledSinceMs ?? (this.#isLate() ? this.#lastMs : undefined);
  }

  #isLate(): boolean {
    const sinceMs = this.#lastMs ?? Infinity;
    return this.#clock.monotonicMs() - sinceMs > BEAT_MS + LATE_MS;
  }
}
