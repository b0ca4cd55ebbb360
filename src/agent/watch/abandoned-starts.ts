/**
 * abandoned-starts: notices that a domain which was prepared here is not going to start: libvirtd died between its hooks, or could not run the last of them.
 * Nobody says so, and its volume would stay held until somebody starts the domain here again.
 *
 * I1 A start that goes on is never ended: libvirt itself says, asked after the preparation and at two looks in a row, that the domain is shut off, and no swtpm
 *    runs. While a hook is under way libvirt says nothing of its domain, and from the first hook on it counts it among those that run. One that it
 *    does not know any more is over if libvirt's own hook prepared it, as a transient one is forgotten at once; otherwise it is none of libvirt's,
 *    and whoever prepared it may take any time.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';

const LOOKS_UNTIL_ABANDONED = 2;

export interface AbandonedStartsOptions {
  /** The domains that were prepared and have neither started nor stopped since, and whether libvirt's hook said so. */
  readonly prepared: () => ReadonlyMap<DomainUuid, { readonly byHook: boolean }>;
  readonly abandoned: (uuid: DomainUuid) => void;
}

type AbandonedStartsContext = Pick<AgentContext, 'guests' | 'running' | 'log'>;

export class AbandonedStarts {
  readonly #context: AbandonedStartsContext;
  readonly #options: AbandonedStartsOptions;
  /** How often in a row libvirt said that a prepared domain is shut off. */
  readonly #looks = new Map<DomainUuid, number>();
  #isLooking = false;

  constructor(context: AbandonedStartsContext, options: AbandonedStartsOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Somebody says himself what becomes of it. */
  forget(uuid: DomainUuid): void {
    this.#looks.delete(uuid);
  }

  /** @throws what kept it from looking at this host's processes */
  async look(): Promise<void> {
    const prepared = this.#options.prepared();
    for (const uuid of this.#looks.keys()) if (!prepared.has(uuid)) this.forget(uuid);
    if (prepared.size === 0 || this.#isLooking) return;
    for (const uuid of prepared.keys()) this.#looks.set(uuid, this.#looks.get(uuid) ?? 0);
    this.#isLooking = true;
    const { guests, running } = this.#context;
    try {
      const [idle, known, swtpms] = [await guests.inactive(), await guests.known(), await running.list()];
      for (const [uuid, looks] of this.#looks) {
        const isForgotten = prepared.get(uuid)?.byHook === true && known?.has(uuid) === false;
        const isSaid = (idle?.has(uuid) === true || isForgotten) && !swtpms.has(uuid);
        const isOver = isSaid && (await running.guest(uuid)) !== 'runs';
        this.#looks.set(uuid, isOver ? looks + 1 : 0);
        if (isOver && looks + 1 >= LOOKS_UNTIL_ABANDONED) this.#giveUp(uuid);
      }
    } finally {
      this.#isLooking = false;
    }
  }

  #giveUp(uuid: DomainUuid): void {
    this.forget(uuid);
    this.#context.log.warn(
      { uuid },
      'was prepared, and its start has ended without a word; giving its volume back',
    );
    this.#options.abandoned(uuid);
  }
}
