/**
 * run-claims: sees to it that the claim of every run on this host is left where it goes with the
 * guest, again after each new claim.
 *
 * It is evidence for others, and nothing on this host depends on it. So it is written beside
 * everything else, one domain at a time, and given up after some tries: a domain that libvirt does
 * not know, or a host without virsh, costs no more than those.
 *
 * I1 Never in a hook: the first try comes after libvirt has got its answer.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { AgentContext, RunClaims } from '../agent-context.js';

/** libvirt keeps the domain locked until its hook has ended. */
const FIRST_TRY_MS = 250;
/** A migration, or another long job, keeps libvirt from changing a domain. */
const PAUSE_MAX_MS = 60_000;
const TRIES_MAX = 8;

interface Wanted {
  readonly claim: RunClaim;
  tries: number;
  cancel: () => void;
}

export class WrittenRunClaims implements RunClaims {
  readonly #context: Pick<AgentContext, 'clock' | 'log' | 'runMetadata'>;
  readonly #wanted = new Map<DomainUuid, Wanted>();
  #isClosed = false;

  constructor(context: Pick<AgentContext, 'clock' | 'log' | 'runMetadata'>) {
    this.#context = context;
  }

  show(uuid: DomainUuid, claim: RunClaim | undefined): void {
    const known = this.#wanted.get(uuid);
    if (known?.claim.token === claim?.token || !this.#context.runMetadata) return;
    known?.cancel();
    this.#wanted.delete(uuid);
    if (!claim || this.#isClosed) return;
    const wanted: Wanted = { claim, tries: 0, cancel: () => undefined };
    this.#wanted.set(uuid, wanted);
    this.#tryIn(uuid, wanted, FIRST_TRY_MS);
  }

  close(): void {
    this.#isClosed = true;
    for (const { cancel } of this.#wanted.values()) cancel();
    this.#context.runMetadata?.close();
  }

  #tryIn(uuid: DomainUuid, wanted: Wanted, pauseMs: number): void {
    wanted.cancel = this.#context.clock.after(pauseMs, () => void this.#write(uuid, wanted));
  }

  async #write(uuid: DomainUuid, wanted: Wanted): Promise<void> {
    const { runMetadata, log } = this.#context;
    const { claim } = wanted;
    const isWritten = (await runMetadata?.write(uuid, claim)) === true;
    if (this.#isClosed || this.#wanted.get(uuid) !== wanted) return;
    wanted.tries += 1;
    const { epoch } = claim;
    if (isWritten) {
      log.debug({ uuid, epoch }, 'the claim of this run is in its live metadata');
    } else if (wanted.tries < TRIES_MAX) {
      this.#tryIn(uuid, wanted, Math.min(PAUSE_MAX_MS, 500 * 2 ** wanted.tries));
    } else {
      log.info(
        { uuid, epoch },
        'cannot leave the claim of this run in its live metadata: should the domain migrate, its host has to say so',
      );
    }
  }
}
