/**
 * recovery-point: how far the share is behind a domain: since when, and by how many changes.
 *
 * A change is a state that was read and differs from the one before; those between two readings, which are `timing.settle` apart, are one. What is noticed and
 * not read yet counts for the time alone, for it may be nothing.
 */
import type { Clock } from '../../model/environment.js';

export class RecoveryPoint {
  readonly #clock: Clock;
  #behindSinceMs: number | undefined;
  #changes = 0;
  /** Those that a task on the share has under way: it carries the newest state, which stands for all before it. */
  #carried = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** ms; `undefined` when the share has everything. */
  get lagMs(): number | undefined {
    const since = this.#behindSinceMs;
    return since === undefined ? undefined : this.#clock.monotonicMs() - since;
  }

  /** How many changes the share has not, at least. */
  get changes(): number {
    return this.#changes;
  }

  /** A former run of this program left a state in the spool. */
  recalled(ageMs: number): void {
    this.#behindSinceMs = this.#clock.monotonicMs() - ageMs;
    this.#changes = 1;
  }

  changed(): void {
    this.#changes++;
  }

  /** The newest state is on its way. */
  carried(): void {
    this.#carried = this.#changes;
  }

  /** What was on its way is there. */
  arrived(): void {
    this.#changes = Math.max(0, this.#changes - this.#carried);
    this.#carried = 0;
  }

  /** @param isBehind whether something is noticed, or read, that the share has not */
  follow(isBehind: boolean): void {
    this.#behindSinceMs = isBehind ? (this.#behindSinceMs ?? this.#clock.monotonicMs()) : undefined;
    if (!isBehind) this.#changes = this.#carried = 0;
  }
}
