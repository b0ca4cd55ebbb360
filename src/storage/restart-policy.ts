/**
 * restart-policy: when the next storage process may be started. Pure.
 *
 * The first failure is answered by a new process at once, because most are the fault of one process or of one volume. From the second
 * failure without an answer of the share between them, starts are spaced out, doubling up to a bound: a share that hangs for an hour
 * costs a process every few seconds, not one for every request.
 */

export interface BackOff {
  readonly firstMs: number;
  readonly maxMs: number;
}

export class RestartPolicy {
  readonly #backOff: BackOff;
  #failures = 0;
  #notBeforeMs = -Infinity;

  constructor(backOff: BackOff) {
    this.#backOff = backOff;
  }

  /** Failures since the last answer. */
  get failures(): number {
    return this.#failures;
  }

  failed(nowMs: number): void {
    this.#failures++;
    this.#notBeforeMs = nowMs + this.#delayMs();
  }

  answered(): void {
    this.#failures = 0;
    this.#notBeforeMs = -Infinity;
  }

  /** How long no process is started, milliseconds; 0 when one may be. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#notBeforeMs - nowMs);
  }

  #delayMs(): number {
    if (this.#failures <= 1) return 0;
    return Math.min(this.#backOff.maxMs, this.#backOff.firstMs * 2 ** (this.#failures - 2));
  }
}
