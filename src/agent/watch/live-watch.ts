/**
 * live-watch: notices changes of state that lies on the share itself.
 *
 * No file event may be asked for there: the agent touches no path of the share. So the storage process looks, as often as `LOOK_MS`, which the NFS client
 * answers from its own cache for what this host writes.
 */
import type { MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext, ChangeSource } from '../agent-context.js';
import type { DomainPlace } from '../domain-place.js';

export const LOOK_MS = 500;

type LiveWatchContext = Pick<AgentContext, 'share' | 'clock'>;

export class LiveWatch implements ChangeSource {
  readonly #context: LiveWatchContext;
  readonly #local: ChangeSource;
  readonly #onDirty: (uuid: DomainUuid) => void;
  readonly #looks = new Map<DomainUuid, () => void>();

  /** @param local notices what changes on this host */
  constructor(context: LiveWatchContext, local: ChangeSource, onDirty: (uuid: DomainUuid) => void) {
    this.#context = context;
    this.#local = local;
    this.#onDirty = onDirty;
  }

  async watch(place: DomainPlace): Promise<void> {
    this.#end(place.uuid);
    if (place.live !== undefined) this.#begin(place.uuid, place.live);
    await this.#local.watch(place);
  }

  async unwatch(uuid: DomainUuid): Promise<void> {
    this.#end(uuid);
    await this.#local.unwatch(uuid);
  }

  trouble(): MirrorError | undefined {
    return this.#local.trouble?.();
  }

  async close(): Promise<void> {
    for (const uuid of [...this.#looks.keys()]) this.#end(uuid);
    await this.#local.close();
  }

  #begin(uuid: DomainUuid, live: number): void {
    const { share, clock } = this.#context;
    let last: string | undefined;
    const look = async (): Promise<void> => {
      // While the share is away, its return and the rescan mark the domain.
      const found = await share.lookLive({ uuid, live }).catch(() => last);
      if (this.#looks.get(uuid) !== end) return;
      if (found !== last) this.#onDirty(uuid);
      last = found;
      again();
    };
    let cancel = (): void => undefined;
    const again = (): void => {
      cancel = clock.after(LOOK_MS, () => void look());
    };
    const end = (): void => {
      cancel();
    };
    this.#looks.set(uuid, end);
    again();
  }

  #end(uuid: DomainUuid): void {
    this.#looks.get(uuid)?.();
    this.#looks.delete(uuid);
  }
}
