/**
 * definitions: notices that somebody undefined a domain whose state this host has stored, or took its TPM out of its definition.
 *
 * No hook tells the first. It is looked for rather than followed as events: what happened while libvirtd, or this agent, was away is found all the same.
 * It is news and no more: the volume stays as it is.
 */
import type { BareDomain, SeenDefinitions } from '../../host/definitions-file.js';
import type { JournalRecord } from '../../host/journal-record.js';
import { asMirrorError } from '../../model/errors.js';
import { isOwn } from '../../model/host-identity.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import type { HostNotices } from './host-notices.js';

type DefinitionsContext = Pick<
  AgentContext,
  'guests' | 'journal' | 'share' | 'knownShare' | 'config' | 'identity' | 'log' | 'definitions'
>;

/** A domain that came back so often is undefined and defined as a rule, and that is no news. */
const RETURNS_ARE_THE_RULE = 2;

export class Definitions {
  readonly #context: DefinitionsContext;
  readonly #notices: HostNotices;
  /** Defined at the last look that libvirt answered; before the first, what a former agent saw. */
  #defined: ReadonlySet<DomainUuid> | undefined;
  /** Told as undefined. */
  readonly #gone = new Set<DomainUuid>();
  /** How often a domain was defined again after it was undefined. */
  readonly #returns = new Map<DomainUuid, number>();
  readonly #bare = new Map<DomainUuid, BareDomain>();
  #written = '';
  /** What is done here is done one after the other. */
  #last: Promise<void> = Promise.resolve();

  constructor(context: DefinitionsContext, notices: HostNotices) {
    this.#context = context;
    this.#notices = notices;
  }

  /** Takes up what a former agent saw. */
  recall(): Promise<void> {
    return this.#next(async () => {
      const seen = await this.#context.definitions?.read();
      if (!seen) return;
      this.#defined = new Set(seen.known);
      for (const { uuid, times } of seen.returns ?? []) this.#returns.set(uuid, times);
      for (const domain of seen.withoutTpm) {
        const record = await this.#context.journal.read(domain.uuid);
        if (record?.updatedAt === domain.recordedAt) this.#tellBare(domain, record);
      }
    });
  }

  look(): Promise<void> {
    return this.#next(async () => {
      const defined = await this.#context.guests.defined();
      if (!defined) return;
      const before = this.#defined ?? defined;
      this.#defined = defined;
      for (const uuid of defined) {
        if (this.#gone.delete(uuid)) this.#returns.set(uuid, (this.#returns.get(uuid) ?? 0) + 1);
        this.#notices.clear('undefined', uuid);
      }
      for (const uuid of before) if (!defined.has(uuid)) await this.#hasGone(uuid).catch(this.#report);
      await this.#remember();
    });
  }

  /** A domain is about to start whose definition has no TPM: what is stored of it stays. */
  withoutTpm(uuid: DomainUuid, name: string): Promise<void> {
    return this.#next(async () => {
      const record = await this.#context.journal.read(uuid);
      if (!record || record.slot === 0) return;
      this.#tellBare({ uuid, name, recordedAt: record.updatedAt }, record);
      await this.#remember();
    });
  }

  /** A domain is about to start with a TPM. */
  withTpm(uuid: DomainUuid): void {
    this.#notices.clear('without-tpm', uuid);
    if (this.#bare.delete(uuid)) void this.#next(() => this.#remember());
  }

  /** Never fails: nobody's start or stop may hang on news. */
  #next(work: () => Promise<void>): Promise<void> {
    return (this.#last = this.#last.then(work).catch(this.#report));
  }

  readonly #report = (error: unknown): void => {
    const { code, message } = asMirrorError(error);
    this.#context.log.warn({ code }, `cannot tell what became of a definition: ${message}`);
  };

  #tellBare(domain: BareDomain, { slot }: JournalRecord): void {
    this.#bare.set(domain.uuid, domain);
    this.#notices.withoutTpm(domain.uuid, domain.name, slot);
  }

  async #hasGone(uuid: DomainUuid): Promise<void> {
    const { journal, log } = this.#context;
    const record = await journal.read(uuid);
    if (!record || record.slot === 0 || (await this.#isElsewhere(record))) return;
    this.#gone.add(uuid);
    // Its manager undefines it whenever it stops.
    if ((this.#returns.get(uuid) ?? 0) >= RETURNS_ARE_THE_RULE) return;
    log.info({ uuid, generation: record.slot }, 'undefined in libvirt; its volume stays as it is');
    this.#notices.undefinedDomain(uuid, record.name, record.slot);
  }

  /** Whether it went on on another host, or was meant to be forgotten. */
  async #isElsewhere({ uuid, phase }: JournalRecord): Promise<boolean> {
    if (phase === 'handed-over' || phase === 'away') return true;
    const { share, knownShare, config, identity } = this.#context;
    const { hostExpiryMs } = config.timing;
    const shareId = await knownShare.read();
    const call = { uuid, withHead: false, since: Number.MAX_SAFE_INTEGER, hostExpiryMs, shareId };
    try {
      const { volume } = await share.inspect(call);
      if (volume?.log.tombstone) return true;
      return volume?.log.lastClaim !== undefined && !isOwn(volume.log.lastClaim, identity);
    } catch {
      // Told all the same: the share's own trouble is told elsewhere.
      return false;
    }
  }

  async #remember(): Promise<void> {
    const known = [...new Set([...(this.#defined ?? []), ...this.#gone])].sort();
    const returns = [...this.#returns].map(([uuid, times]) => ({
      uuid,
      times: Math.min(times, RETURNS_ARE_THE_RULE),
    }));
    const seen: SeenDefinitions = { known, withoutTpm: [...this.#bare.values()], returns };
    const text = JSON.stringify(seen);
    if (text === this.#written) return;
    await this.#context.definitions?.write(seen);
    this.#written = text;
  }
}
