/**
 * arrivals: notices when a domain that is migrating to this host runs here. No hook tells that: all of them fire before the data comes.
 *
 * Asked often only while some domain is on its way, and less often the longer nobody can answer (libvirtd may be restarting, or there is
 * none on this host); and at each of libvirt's events, which say it sooner and may be lost.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import { asMirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';
import { Backoff } from '../backoff.js';

export interface ArrivalsOptions {
  /** The domains that are on their way. */
  readonly expected: () => readonly DomainUuid[];
  readonly onArrival: (uuid: DomainUuid) => Promise<void>;
}

const POLL_MS = 500;

export class Arrivals {
  readonly #context: AgentContext;
  readonly #options: ArrivalsOptions;
  readonly #backoff: Backoff;
  #isWatching = false;
  /** Between two looks. */
  #isWaiting = false;
  #cancel: (() => void) | undefined;
  #isClosed = false;

  constructor(context: AgentContext, options: ArrivalsOptions) {
    this.#context = context;
    this.#options = options;
    this.#backoff = new Backoff(context);
  }

  /** Looks until no domain is expected any more. */
  watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    void this.#look();
  }

  /** Something may have arrived: the next look is due now. */
  lookNow(): void {
    if (!this.#isWaiting || this.#isClosed) return;
    this.#cancel?.();
    this.#backoff.reset();
    void this.#look();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
    this.#backoff.reset();
  }

  async #look(): Promise<void> {
    this.#isWaiting = false;
    const expected = this.#options.expected();
    this.#isWatching = expected.length > 0 && !this.#isClosed;
    if (!this.#isWatching) return;
    const running = await this.#context.guests.list();
    for (const uuid of expected) if (running?.has(uuid)) await this.#arrived(uuid);
    if (this.#isClosed) return;
    this.#isWaiting = true;
    const again = (): void => void this.#look();
    if (running) {
      this.#backoff.reset();
      this.#cancel = this.#context.clock.after(POLL_MS, again);
    } else {
      this.#backoff.schedule(again);
    }
  }

  async #arrived(uuid: DomainUuid): Promise<void> {
    const { log } = this.#context;
    log.info({ uuid }, 'has arrived: it runs here now');
    try {
      await this.#options.onArrival(uuid);
    } catch (error) {
      const { code, message } = asMirrorError(error);
      log.error({ uuid, code }, `cannot take over a domain that has arrived: ${message}`);
    }
  }
}
