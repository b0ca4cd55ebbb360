/**
 * pace: how soon after one reading of a domain's files the next one may follow. A change after a rest is read at once; those that follow it closely are
 * gathered. That what is read is whole does not rest on any pause: see `host/state-reader.ts`.
 */
import { sleep, type Clock } from '../../model/environment.js';

export class Pace {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  #lastMs = -Infinity;

  constructor(clock: Clock, intervalMs: number) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
  }

  /** Resolves when the next reading may begin, which it is taken to do then. */
  async next(): Promise<void> {
    const leftMs = this.#lastMs + this.#intervalMs - this.#clock.monotonicMs();
    if (leftMs > 0) await sleep(this.#clock, leftMs);
    this.#lastMs = this.#clock.monotonicMs();
  }
}
