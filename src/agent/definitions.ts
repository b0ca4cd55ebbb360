/**
 * definitions: notices that somebody undefined a domain whose state this host has stored. No hook tells that.
 *
 * Looked for from time to time rather than followed as events: what happened while libvirtd, or this agent's connection to it, was away is found all the
 * same. It is news and no more: the volume stays as it is.
 */
import { asMirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { AgentContext } from './agent-context.js';
import type { HostNotices } from './host-notices.js';

type DefinitionsContext = Pick<
  AgentContext,
  'guests' | 'journal' | 'share' | 'knownShare' | 'config' | 'log'
>;

export class Definitions {
  readonly #context: DefinitionsContext;
  readonly #notices: HostNotices;
  /** At the last look that libvirt answered. */
  #defined: ReadonlySet<DomainUuid> | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(context: DefinitionsContext, notices: HostNotices) {
    this.#context = context;
    this.#notices = notices;
  }

  /** Looks one after the other: none may compare with what a later one has seen. */
  look(): Promise<void> {
    return (this.#looking = this.#looking.then(() => this.#lookOnce()));
  }

  async #lookOnce(): Promise<void> {
    const { guests, log } = this.#context;
    const defined = await guests.defined();
    if (!defined) return;
    const before = this.#defined ?? defined;
    this.#defined = defined;
    for (const uuid of defined) this.#notices.clear('undefined', uuid);
    for (const uuid of before) {
      if (defined.has(uuid)) continue;
      await this.#gone(uuid).catch((error: unknown) => {
        const { code, message } = asMirrorError(error);
        log.warn({ uuid, code }, `cannot tell what is stored of a domain that was undefined: ${message}`);
      });
    }
  }

  async #gone(uuid: DomainUuid): Promise<void> {
    const { journal, log } = this.#context;
    const record = await journal.read(uuid);
    if (!record || record.slot === 0 || (await this.#isElsewhere(uuid))) return;
    log.info({ uuid, generation: record.slot }, 'undefined in libvirt; its volume stays as it is');
    this.#notices.undefinedDomain(uuid, record.name, record.slot);
  }

  /** Whether it went on on another host, or was meant to be forgotten. */
  async #isElsewhere(uuid: DomainUuid): Promise<boolean> {
    const { share, knownShare, config } = this.#context;
    const { hostExpiryMs } = config.timing;
    const shareId = await knownShare.read();
    const call = { uuid, withHead: false, since: Number.MAX_SAFE_INTEGER, hostExpiryMs, shareId };
    try {
      const { volume } = await share.inspect(call);
      return volume?.holder?.self === false || volume?.log.tombstone !== undefined;
    } catch {
      // Told all the same: the share's own trouble is told elsewhere.
      return false;
    }
  }
}
