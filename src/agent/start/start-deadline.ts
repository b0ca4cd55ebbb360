/**
 * start-deadline: how long a start waits for the share, whatever the share does.
 *
 * What is cut off goes on in the storage process, and may take place: only calls whose late success does no harm, or is given back, are
 * waited for through this.
 */
import { MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';

export class StartDeadline {
  readonly #clock: AgentContext['clock'];
  #endMs: number;
  #isExtended = false;
  #reason: MirrorError;
  #isOver = false;

  constructor({ clock, config }: Pick<AgentContext, 'clock' | 'config'>, uuid: DomainUuid) {
    const { startDeadlineMs } = config.timing;
    this.#clock = clock;
    this.#endMs = clock.monotonicMs() + startDeadlineMs;
    this.#reason = new MirrorError(
      'SHARE_TIMEOUT',
      `the share has not answered for ${uuid} within timing.start_deadline, ${String(startDeadlineMs)} ms`,
      {
        next: 'check that the storage answers (`ls` on the mount), then start the domain again',
        retriable: true,
      },
    );
  }

  /** Not below 0. */
  get leftMs(): number {
    return Math.max(0, this.#endMs - this.#clock.monotonicMs());
  }

  /** Whether it has cut something off. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Once: for what is known to be over, one way or the other, after as long. */
  extend(ms: number): void {
    if (this.#isExtended) return;
    this.#isExtended = true;
    this.#endMs = Math.max(this.#endMs, this.#clock.monotonicMs() + ms);
  }

  /** What the start waits for from now on, for the error at its end. */
  because(reason: MirrorError): void {
    this.#reason = reason;
  }

  /**
   * @throws MirrorError what the start waited for, when the deadline ends before `work`
   */
  async within<Result>(work: Promise<Result>): Promise<Result> {
    let cancel = (): void => undefined;
    const overdue = new Promise<never>((_, reject) => {
      cancel = this.#clock.after(this.leftMs, () => {
        this.#isOver = true;
        reject(this.#reason);
      });
    });
    try {
      return await Promise.race([work, overdue]);
    } finally {
      cancel();
    }
  }
}
