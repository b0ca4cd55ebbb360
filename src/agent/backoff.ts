/**
 * backoff: pauses between tries that double up to `timing.retry_max`, with jitter so that many domains do not return as one.
 */
import type { AgentContext } from './agent-context.js';

const FIRST_MS = 250;

export class Backoff {
  readonly #context: Pick<AgentContext, 'clock' | 'random' | 'config'>;
  #failures = 0;
  #cancel: (() => void) | undefined;

  constructor(context: Pick<AgentContext, 'clock' | 'random' | 'config'>) {
    this.#context = context;
  }

  /** Calls back once after the next pause; a pause under way is replaced. */
  schedule(callback: () => void): void {
    const { clock, random, config } = this.#context;
    this.#cancel?.();
    const fullMs = Math.min(config.timing.retryMaxMs, FIRST_MS * 2 ** Math.min(this.#failures, 16));
    this.#failures++;
    this.#cancel = clock.after(fullMs * (0.5 + random.fraction() / 2), callback);
  }

  /** Ends a pause under way; the next one is as long as it would have been. */
  cancel(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  reset(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#failures = 0;
  }
}
