/**
 * introductions: what the manager of this host's domains says of one that is met running, of which no hook said anything: its name, and where its NVRAM is.
 */
import { readDomainXml } from '../libvirt/domain-xml.js';
import { nvramPathOf } from '../libvirt/nvram-path.js';
import type { AgentContext } from './agent-context.js';
import type { DomainFacts } from './domain-place.js';
import type { DomainUuid } from '../model/identifiers.js';

/** A manager that did not answer is not asked for the next domain at once: each may wait for its whole deadline. */
const SILENCE_MS = 30_000;

type IntroducingContext = Pick<AgentContext, 'guests' | 'config' | 'clock'>;

export class Introductions {
  readonly #context: IntroducingContext;
  #silentUntilMs = -Infinity;

  constructor(context: IntroducingContext) {
    this.#context = context;
  }

  /** Nothing when nobody can tell: the domain is taken up all the same. */
  async factsOf(uuid: DomainUuid): Promise<DomainFacts> {
    const { guests, config, clock } = this.#context;
    if (clock.monotonicMs() < this.#silentUntilMs) return {};
    const answer = await guests.describe(uuid);
    if (answer === undefined) this.#silentUntilMs = clock.monotonicMs() + SILENCE_MS;
    try {
      const domain = answer === undefined ? undefined : readDomainXml(answer);
      return domain ? { name: domain.name, nvramPath: nvramPathOf(domain, config.libvirt.nvramDir) } : {};
    } catch {
      // XML that cannot be read names nothing.
      return {};
    }
  }
}
