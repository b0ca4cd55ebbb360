/**
 * domain-events: follows what happens to the domains of this host, and follows it again when their manager comes back.
 *
 * Events only make a look sooner that would come anyway: one that is lost costs time and nothing else. Many at once cause one look.
 */
import { asMirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';
import { Backoff } from '../backoff.js';

/** An event seldom comes alone: a start brings three. */
const GATHER_MS = 100;

type DomainEventsContext = Pick<AgentContext, 'events' | 'clock' | 'random' | 'config' | 'log'>;

export class DomainEvents {
  readonly #context: DomainEventsContext;
  readonly #look: () => Promise<void>;
  readonly #backoff: Backoff;
  #endSource: (() => void) | undefined;
  #cancelLook: (() => void) | undefined;
  #isLooking = false;
  /** Something happened while the last look was under way. */
  #isStale = false;
  #isClosed = false;

  /** @param look is never called while the look before is under way */
  constructor(context: DomainEventsContext, look: () => Promise<void>) {
    this.#context = context;
    this.#look = look;
    this.#backoff = new Backoff(context);
  }

  follow(): void {
    if (this.#isClosed) return;
    const { events, clock, config, log } = this.#context;
    const sinceMs = clock.monotonicMs();
    this.#endSource = events?.follow(
      () => {
        this.#happened();
      },
      () => {
        log.debug({}, "libvirt's events have ended; following them again");
        // One that has lasted is no failure, whatever came before it.
        if (clock.monotonicMs() - sinceMs > config.timing.retryMaxMs) this.#backoff.reset();
        this.#backoff.schedule(() => {
          this.follow();
        });
      },
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#endSource?.();
    this.#cancelLook?.();
    this.#backoff.reset();
  }

  #happened(): void {
    if (this.#isClosed) return;
    if (this.#isLooking) this.#isStale = true;
    else this.#cancelLook ??= this.#context.clock.after(GATHER_MS, () => void this.#lookOnce());
  }

  async #lookOnce(): Promise<void> {
    this.#cancelLook = undefined;
    this.#isLooking = true;
    await this.#look().catch((error: unknown) => {
      const { code, message } = asMirrorError(error);
      this.#context.log.warn({ code }, `cannot look for what happened to a domain: ${message}`);
    });
    this.#isLooking = false;
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#happened();
  }
}
