/**
 * host-watch: how long other hosts' heartbeats have not changed, by this process's own clock.
 *
 * A dead host is one whose beat does not change. No clock of another machine is asked, so it holds
 * whatever a file's time says.
 *
 * I1 Only time during which the share answered this process counts. While it answers nobody, nobody
 *    can beat, and when it comes back every host looks silent.
 * I2 An answer that was held up tells what was so when it was asked for, at least; nothing of the
 *    time after that. Silence is counted from one answer to the question before the next.
 */
import type { Clock } from '../model/environment.js';

interface Seen {
  readonly content: string;
  /** By the share's own time, see `ShareTime`. */
  readonly sinceMs: number;
}

/** How long the share has answered this process, ms: a clock that stands still while it does not (I1). */
export class ShareTime {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #gapMs: number;
  #lastMs: number | undefined;
  #totalMs = 0;

  /** @param gapMs of which answers may be apart for the time between them to count */
  constructor(clock: Pick<Clock, 'monotonicMs'>, gapMs: number) {
    this.#clock = clock;
    this.#gapMs = gapMs;
  }

  /** When the share answered last. */
  get now(): number {
    return this.#totalMs;
  }

  /** The share has answered. @returns the time */
  answered(): number {
    const now = this.#clock.monotonicMs();
    const passedMs = now - (this.#lastMs ?? now);
    if (passedMs <= this.#gapMs) this.#totalMs += passedMs;
    this.#lastMs = now;
    return this.#totalMs;
  }
}

export class HostWatch {
  readonly #time: ShareTime;
  readonly #seen = new Map<string, Seen>();

  constructor(time: ShareTime) {
    this.#time = time;
  }

  /**
   * A host's heartbeat said this (I2).
   *
   * @param askedMs when it was asked for, by the share's own time
   * @returns for how long it is known to have said nothing else, ms; 0 at the first look
   */
  saw(host: string, content: string, askedMs: number): number {
    const nowMs = this.#time.answered();
    const seen = this.#seen.get(host);
    if (seen?.content === content) return Math.max(0, askedMs - seen.sinceMs);
    this.#seen.set(host, { content, sinceMs: nowMs });
    return 0;
  }

  forget(host: string): void {
    this.#seen.delete(host);
  }
}
