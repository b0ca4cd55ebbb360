/**
 * census: the domains that libvirt says run here and of which neither a hook nor a process that is known has
 * told: those that are not looked after are found and told, and one whose TPM works in a directory that its
 * owner chose is taken up.
 *
 * Each is asked about once for as long as it runs.
 */
import { careFor } from '../../libvirt/domain-care.js';
import { asMirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { nvramOf } from '../../libvirt/nvram-path.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainFacts } from '../domain-place.js';
import { leftOutOf, type LeftOut } from '../left-out.js';

export interface CensusOptions {
  readonly isLookedAfter: (uuid: DomainUuid) => boolean;
  readonly leftOut: (uuid: DomainUuid, why: LeftOut | undefined) => void;
  readonly takeUp: (uuid: DomainUuid, facts: DomainFacts) => Promise<void>;
}

export type CensusContext = Pick<AgentContext, 'guests' | 'running' | 'config' | 'placeOf' | 'log'>;

export class Census {
  readonly #context: CensusContext;
  readonly #options: CensusOptions;
  readonly #asked = new Set<DomainUuid>();
  #last: Promise<void> = Promise.resolve();

  constructor(context: CensusContext, options: CensusOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Never fails: it is news, and the next one comes. */
  take(): Promise<void> {
    return (this.#last = this.#last
      .then(() => this.#take())
      .catch((error: unknown) => {
        const { code, message } = asMirrorError(error);
        this.#context.log.warn({ code }, `cannot tell which running domains are left out: ${message}`);
      }));
  }

  async #take(): Promise<void> {
    const { guests } = this.#context;
    const running = await guests.list();
    if (!running) return;
    for (const uuid of this.#asked) {
      if (running.has(uuid)) continue;
      this.#asked.delete(uuid);
      this.#options.leftOut(uuid, undefined);
    }
    for (const uuid of running) {
      if (this.#asked.has(uuid) || this.#options.isLookedAfter(uuid)) continue;
      const xml = await guests.describe(uuid);
      if (xml === undefined) return;
      this.#asked.add(uuid);
      if (xml !== '') await this.#judge(uuid, xml);
    }
  }

  async #judge(uuid: DomainUuid, xml: string): Promise<void> {
    const { config, running, placeOf } = this.#context;
    const care = careFor(xml, config.libvirt.swtpmDir);
    this.#options.leftOut(uuid, leftOutOf(care));
    if (care.kind !== 'looked-after' || !care.own || !placeOf) return;
    const place = await placeOf(care);
    if ('why' in place) {
      this.#options.leftOut(uuid, place);
      return;
    }
    if (!place.tpm || !(await running.strangers?.())?.includes(place.tpm.directory)) return;
    const { name, domain } = care;
    await this.#options.takeUp(uuid, {
      name,
      ...nvramOf(domain, config.libvirt.nvramDir),
      ...place,
    });
  }
}

/** The same where no agent runs: once, for whoever asks. */
export async function findLeftOut(context: CensusContext): Promise<readonly LeftOut[]> {
  const found = new Map<DomainUuid, LeftOut>();
  const census = new Census(context, {
    isLookedAfter: () => false,
    leftOut: (uuid, why) => {
      if (why) found.set(uuid, why);
    },
    takeUp: () => Promise.resolve(),
  });
  await census.take();
  return [...found.values()];
}
