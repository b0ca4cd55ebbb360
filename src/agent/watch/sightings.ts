/**
 * sightings: compares the domains that are seen to run with those that are known to.
 *
 * I1 A domain that runs here is taken up within one look, whatever was missed: its hook, its events, or an agent.
 * I2 A look takes time, and asking after what it found more. Of a domain whose start or stop was said meanwhile it proves nothing: taken
 *    up after its stop, it would be held here, and could not start elsewhere.
 * I3 One look at which a domain is missing proves nothing: its own hook may be on its way.
 * I4 (G3) A swtpm that has ended is no domain that has: a run ends by the word of whoever manages it, or when its QEMU itself is gone
 *    (`run-end.ts`). Until then its volume stays held, and the operator is told.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { RunState } from '../../model/lifecycle-state.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainFacts } from '../domain-place.js';
import type { Fate } from './run-end.js';

/** Looks in a row at which a domain that was seen to run is gone, before it counts as stopped without a hook. */
const LOOKS_UNTIL_GONE = 2;

export interface SightingsOptions {
  /** `undefined` for a domain that is not looked after. */
  readonly runOf: (uuid: DomainUuid) => RunState | undefined;
  /** What can be learnt of a domain of which nobody said anything; never fails. */
  readonly factsOf: (uuid: DomainUuid) => Promise<DomainFacts | 'left-alone'>;
  readonly takeUp: (uuid: DomainUuid, facts: DomainFacts) => Promise<void>;
  /** What became of a domain whose swtpm runs no more. */
  readonly fateOf: (uuid: DomainUuid) => Promise<Fate>;
  readonly hasGone: (uuid: DomainUuid) => void;
  /** Its swtpm has ended, and it has not, as far as anybody can tell; told at each look. */
  readonly hasLostTpm: (uuid: DomainUuid, fate: Exclude<Fate, 'ended'>) => void;
  /** Its swtpm is seen to run. */
  readonly hasTpm: (uuid: DomainUuid) => void;
}

type SightingsContext = Pick<AgentContext, 'running' | 'log'>;

export class Sightings {
  readonly #context: SightingsContext;
  readonly #options: SightingsOptions;
  /** Domains that were seen to run, by this or a former run of the program, and how often in a row they were missing since. */
  readonly #seen = new Map<DomainUuid, number>();
  /** For each look that is under way, what was said of since it began. */
  readonly #saidSince = new Set<Set<DomainUuid>>();

  constructor(context: SightingsContext, options: SightingsOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** It ran when somebody looked last. */
  remember(uuid: DomainUuid): void {
    this.#seen.set(uuid, 0);
  }

  /** Whether it ran at the last look. */
  has(uuid: DomainUuid): boolean {
    return this.#seen.get(uuid) === 0;
  }

  /** Somebody says himself what becomes of it. */
  forget(uuid: DomainUuid): void {
    this.#seen.delete(uuid);
    for (const said of this.#saidSince) said.add(uuid);
  }

  /** A domain that was said to run may die before the next look would have seen it: then nothing would miss it. */
  async confirm(uuid: DomainUuid): Promise<void> {
    const seen = await this.#context.running.list().catch(() => new Set<DomainUuid>());
    if (seen.has(uuid)) this.remember(uuid);
  }

  /** Looks at everything. */
  async look(onUnannounced: (uuid: DomainUuid) => void): Promise<void> {
    const seen = await this.lookForNew(onUnannounced);
    for (const [uuid, missing] of [...this.#seen]) {
      if (seen.has(uuid)) continue;
      this.#seen.set(uuid, missing + 1);
      if (missing + 1 >= LOOKS_UNTIL_GONE) await this.#judgeMissing(uuid);
    }
  }

  /** I4. */
  async #judgeMissing(uuid: DomainUuid): Promise<void> {
    if (this.#options.runOf(uuid) !== 'running') {
      this.#seen.delete(uuid);
      return;
    }
    const said = new Set<DomainUuid>();
    this.#saidSince.add(said);
    const fate = await this.#options.fateOf(uuid).finally(() => this.#saidSince.delete(said));
    if (said.has(uuid) || this.#options.runOf(uuid) !== 'running') return;
    if (fate !== 'ended') {
      this.#options.hasLostTpm(uuid, fate);
      return;
    }
    this.#seen.delete(uuid);
    this.#context.log.warn({ uuid }, 'no longer running, and nobody said so; storing its final state');
    this.#options.hasGone(uuid);
  }

  /** Takes up what runs. However often this is called, nothing counts as missing for it (I3). @returns what was seen */
  async lookForNew(onUnannounced: (uuid: DomainUuid) => void): Promise<ReadonlySet<DomainUuid>> {
    const said = new Set<DomainUuid>();
    this.#saidSince.add(said);
    try {
      const seen = await this.#context.running.list();
      for (const uuid of seen) if (!said.has(uuid)) await this.#meet(uuid, said, onUnannounced);
      return seen;
    } finally {
      this.#saidSince.delete(said);
    }
  }

  async #meet(
    uuid: DomainUuid,
    said: ReadonlySet<DomainUuid>,
    onUnannounced: (uuid: DomainUuid) => void,
  ): Promise<void> {
    this.remember(uuid);
    this.#options.hasTpm(uuid);
    if (!this.#isNew(uuid)) return;
    const facts = await this.#options.factsOf(uuid);
    if (facts === 'left-alone' || said.has(uuid) || !this.#isNew(uuid)) return;
    this.#context.log.info({ uuid }, 'found running; taking it up');
    onUnannounced(uuid);
    await this.#options.takeUp(uuid, facts);
  }

  /** A prepared or incoming domain has its own hook or event to come. */
  #isNew(uuid: DomainUuid): boolean {
    const run = this.#options.runOf(uuid);
    return run === undefined || run === 'stopped';
  }
}
