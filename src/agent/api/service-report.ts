/**
 * service-report: how the agent is, for whatever started it and restarts it (systemd): ready when it serves, alive while its event loop turns, ending
 * when it ends.
 *
 * A sign of life goes out from the event loop itself: a loop that is stuck sends none, and the agent is started anew. Domains run on meanwhile.
 */
import type { AgentContext } from '../agent-context.js';

export interface ServiceManager {
  /** A sign of life is expected within this time of the last one; `undefined`: none is. */
  readonly watchdogMs: number | undefined;
  /** @param variables assignments as sd_notify(3) has them */
  tell(variables: readonly string[]): Promise<void>;
}

/** Signs of life sent within the time for one, so that one may be lost. */
const BEATS = 3;

export class ServiceReport {
  readonly #context: Pick<AgentContext, 'clock' | 'log'>;
  readonly #manager: ServiceManager | undefined;
  readonly #status: () => string;
  #cancel: (() => void) | undefined;
  #isEnding = false;

  /** @param status how the agent is, in one line; asked at each sign of life */
  constructor(
    context: Pick<AgentContext, 'clock' | 'log'>,
    manager: ServiceManager | undefined,
    status: () => string,
  ) {
    this.#context = context;
    this.#manager = manager;
    this.#status = status;
  }

  async ready(): Promise<void> {
    await this.#tell('READY=1', `STATUS=${this.#status()}`);
    this.#beatLater();
  }

  async ending(): Promise<void> {
    this.#isEnding = true;
    this.#cancel?.();
    await this.#tell('STOPPING=1', 'STATUS=storing what is pending; running domains stay held');
  }

  #beatLater(): void {
    const { watchdogMs } = this.#manager ?? {};
    if (watchdogMs === undefined || this.#isEnding) return;
    this.#cancel = this.#context.clock.after(watchdogMs / BEATS, () => void this.#beat());
  }

  async #beat(): Promise<void> {
    await this.#tell('WATCHDOG=1', `STATUS=${this.#status()}`);
    this.#beatLater();
  }

  async #tell(...variables: readonly string[]): Promise<void> {
    await this.#manager?.tell(variables).catch((error: unknown) => {
      this.#context.log.warn({ err: error }, 'cannot tell systemd how this agent is');
    });
  }
}
