/**
 * settling: when a domain's lifecycle has come to rest, more or less, and how to wait for that.
 */
import type { Clock } from '../../model/environment.js';
import { isUnsettled } from '../../model/hold.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';

export type Condition = (state: Lifecycle) => boolean;

/** Nothing under way. */
export function isIdle({ local, share }: Lifecycle): boolean {
  return local === 'idle' && share === 'idle';
}

/** Nothing under way and nothing waiting. */
export function isSettled(state: Lifecycle): boolean {
  return !state.dirty && state.pending === undefined && isIdle(state);
}

/** A final state that cannot be read: only somebody who mends that can end the stop. */
export function isStuck(state: Lifecycle): boolean {
  return state.run === 'finishing' && state.reading.kind === 'failed' && isSettled(state);
}

/** Nothing is left of a stop but a claim that may or may not stand: a look did not settle that, and nobody need wait for the next one. */
export function isLingering(state: Lifecycle): boolean {
  return state.run === 'finishing' && state.backoff && isSettled(state) && isUnsettled(state.hold);
}

/** Nothing of a stop can be lost any more, or nothing more can be done about it. */
export function isSafe({ dirty, local, pending, spoolFailed }: Lifecycle): boolean {
  return !dirty && local === 'idle' && (pending === undefined || pending.spooled || spoolFailed);
}

/** Those who wait for a state to fulfil a condition. */
export class Waiters {
  readonly #clock: Clock;
  readonly #looks = new Set<(state: Lifecycle) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Shows a new state to all. */
  show(state: Lifecycle): void {
    for (const look of [...this.#looks]) look(state);
  }

  /**
   * @param now the present state
   * @returns true as soon as a state that was shown fulfils the condition; false after `patienceMs`, when that is given
   */
  until(now: Lifecycle, holds: Condition, patienceMs?: number): Promise<boolean> {
    return new Promise((resolve) => {
      let cancel = (): void => undefined;
      const end = (held: boolean): void => {
        cancel();
        this.#looks.delete(look);
        resolve(held);
      };
      const look = (state: Lifecycle): void => {
        if (holds(state)) end(true);
      };
      this.#looks.add(look);
      if (patienceMs !== undefined) {
        cancel = this.#clock.after(patienceMs, () => {
          end(false);
        });
      }
      look(now);
    });
  }
}
