/**
 * replicators: one for each domain that this host looks after, or did since the program began.
 *
 * I1 There is one replicator for a domain, however many ask for it at a time.
 * I2 A domain is taken up only under its lock, so that a command that worked on it without the agent has ended before.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import { inUse } from '../start/refusal.js';
import { Replicator } from '../domain/replicator.js';

export class Replicators {
  readonly #context: AgentContext;
  readonly #taking = new Map<DomainUuid, Promise<Replicator>>();
  readonly #taken = new Map<DomainUuid, Replicator>();

  constructor(context: AgentContext) {
    this.#context = context;
  }

  all(): Replicator[] {
    return [...this.#taken.values()];
  }

  find(uuid: DomainUuid): Replicator | undefined {
    return this.#taken.get(uuid);
  }

  /** The domain's replicator, taken up if need be. @param ready is waited for before anybody gets one that is new */
  take(uuid: DomainUuid, ready: (replicator: Replicator) => Promise<void>): Promise<Replicator> {
    const present = this.#taking.get(uuid);
    if (present) return present;
    const taking = this.#takeUp(uuid, ready).catch((error: unknown) => {
      this.#taking.delete(uuid);
      throw error;
    });
    this.#taking.set(uuid, taking);
    return taking;
  }

  async #takeUp(uuid: DomainUuid, ready: (replicator: Replicator) => Promise<void>): Promise<Replicator> {
    const replicator = new Replicator(this.#context, uuid);
    await this.#context.locks.withDomain(uuid, () => replicator.recall());
    this.#taken.set(uuid, replicator);
    await ready(replicator);
    return replicator;
  }

  /**
   * Forgets a domain that has stopped. @returns its replicator, for the last time
   *
   * @throws MirrorError `DOMAIN_RUNNING` when it has not stopped, or when its start is being prepared
   */
  letGo(uuid: DomainUuid): Replicator | undefined {
    const replicator = this.#taken.get(uuid);
    if (!replicator) return undefined;
    if (!replicator.isIdle) throw inUse(uuid, replicator.state.run);
    this.#taken.delete(uuid);
    this.#taking.delete(uuid);
    return replicator;
  }
}
