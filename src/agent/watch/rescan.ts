/**
 * rescan: a look at every domain once in `timing.rescan`, and at what else is found by looking alone.
 *
 * A rescan is spread over its interval in `PARTS`, so that many domains do not wake up as one, and few enough that an idle agent sleeps.
 */
import { asMirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';
import type { Replicator } from '../domain/replicator.js';

const PARTS = 6;

export interface RescanOptions {
  readonly domains: () => readonly Replicator[];
  /** Once in a rescan; a failure is logged. */
  readonly look: () => Promise<void>;
}

export class Rescan {
  readonly #context: Pick<AgentContext, 'clock' | 'config' | 'log'>;
  readonly #options: RescanOptions;
  #part = 0;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(context: Pick<AgentContext, 'clock' | 'config' | 'log'>, options: RescanOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** The first part follows after its share of the interval. */
  begin(): void {
    const { clock, config } = this.#context;
    if (this.#closed) return;
    this.#cancel = clock.after(config.timing.rescanMs / PARTS, () => {
      void this.#next().then(() => {
        this.begin();
      });
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  async #next(): Promise<void> {
    this.#part = (this.#part + 1) % PARTS;
    const part = this.#options.domains().filter((_, index) => index % PARTS === this.#part);
    await Promise.all(part.map((domain) => domain.rescan()));
    if (this.#part !== 0) return;
    await this.#options.look().catch((error: unknown) => {
      const { code, message } = asMirrorError(error);
      this.#context.log.warn({ code }, `cannot look for running domains: ${message}`);
    });
  }
}
