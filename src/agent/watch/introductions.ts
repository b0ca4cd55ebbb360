/**
 * introductions: what the manager of this host's domains says of one that is met running, of which no hook said anything: its name, where its NVRAM is,
 * and whether it is to be left alone.
 *
 * libvirt does not answer for a domain one of whose hooks is under way, and that hook may wait for this very look: it ends at the deadline of virsh.
 */
import { careFor } from '../../libvirt/domain-care.js';
import { nvramOf } from '../../libvirt/nvram-path.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainFacts } from '../domain-place.js';
import type { DomainUuid } from '../../model/identifiers.js';

/** A manager that did not answer is not asked for the next domain at once: each may wait for its whole deadline. */
const SILENCE_MS = 30_000;

type IntroducingContext = Pick<AgentContext, 'guests' | 'config' | 'clock' | 'placeOf'>;

export class Introductions {
  readonly #context: IntroducingContext;
  #silentUntilMs = -Infinity;

  constructor(context: IntroducingContext) {
    this.#context = context;
  }

  /** @returns no facts when nobody can tell, and the domain is taken up all the same; `left-alone` when its owner asks for that */
  async factsOf(uuid: DomainUuid): Promise<DomainFacts | 'left-alone'> {
    const { guests, config, clock } = this.#context;
    if (clock.monotonicMs() < this.#silentUntilMs) return {};
    const answer = await guests.describe(uuid);
    if (answer === undefined) this.#silentUntilMs = clock.monotonicMs() + SILENCE_MS;
    try {
      if (answer === undefined) return {};
      const care = careFor(answer, config.libvirt.swtpmDir);
      if (care.kind === 'without-tpm') return {};
      if (care.kind !== 'looked-after') return 'left-alone';
      const { name, domain } = care;
      const place = (await this.#context.placeOf?.(care)) ?? { tpm: null };
      if ('why' in place) return 'left-alone';
      return { name, ...nvramOf(domain, config.libvirt.nvramDir), ...place };
    } catch {
      // XML that cannot be read says nothing.
      return {};
    }
  }
}
