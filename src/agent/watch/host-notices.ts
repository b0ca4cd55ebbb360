/**
 * host-notices: what an operator should know of this host that belongs to no domain it looks after just now.
 */
import { MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { Attention } from '../attention.js';
import { unprotected, type LeftOut } from '../left-out.js';

type Topic = 'undefined' | 'without-tpm' | 'linked';

export class HostNotices {
  readonly #standing: Attention[] = [];
  readonly #ofDomains = new Map<string, Attention>();
  readonly #leftOut = new Map<DomainUuid, LeftOut>();
  #unannounced: Attention | undefined;

  list(): readonly Attention[] {
    return [
      ...(this.#unannounced ? [this.#unannounced] : []),
      ...this.#standing,
      ...this.#ofDomains.values(),
      ...this.leftOutDomains()
        .filter(({ isAskedFor }) => !isAskedFor)
        .map((one) => attentionOf(unprotected(one))),
    ];
  }

  leftOutDomains(): readonly LeftOut[] {
    return [...this.#leftOut.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  /** @returns whether that is news */
  leftOut(uuid: DomainUuid, why: LeftOut | undefined): boolean {
    const isNews = this.#leftOut.get(uuid)?.why !== why?.why;
    if (why) this.#leftOut.set(uuid, why);
    else this.#leftOut.delete(uuid);
    return isNews;
  }

  /** Stays until the agent ends. */
  note(error: MirrorError): void {
    this.#standing.push(attentionOf(error));
  }

  /** A domain was started, and nobody had asked whether it may. */
  unannounced(uuid: DomainUuid): void {
    this.#unannounced = attentionOf(
      new MirrorError(
        'HOOK_MISSING',
        `${uuid} was started without a word to this agent, so its state was not restored before`,
        {
          next: 'see `swtpm-mirror doctor`: the hook is missing, or libvirtd has not noticed it yet (`systemctl reload libvirtd`); without libvirt call `swtpm-mirror domain prepare` before each start',
        },
      ),
    );
  }

  /** Somebody asks before a start: whatever was wrong with the hook is mended. */
  announced(): void {
    this.#unannounced = undefined;
  }

  /** @param slot of the newest state that the volume has, as this host knows it */
  withoutTpm(uuid: DomainUuid, name: string, slot: number): void {
    const error = new MirrorError(
      'TPM_REMOVED',
      `${name} (${uuid}) was started without a TPM; its volume keeps generation ${slot}`,
      {
        next: `nothing, if that is meant: a TPM that is added again gets this state; \`swtpm-mirror purge ${uuid}\` destroys it`,
      },
    );
    this.#ofDomains.set(keyOf('without-tpm', uuid), attentionOf(error));
  }

  undefinedDomain(uuid: DomainUuid, name: string, slot: number): void {
    const error = new MirrorError(
      'DOMAIN_UNDEFINED',
      `${name === '' ? uuid : `${name} (${uuid})`} was undefined in libvirt; its volume keeps generation ${slot}`,
      {
        next: `nothing: defined again, with the same UUID, and started, it gets its TPM back; \`swtpm-mirror forget ${uuid}\` if it is gone for good`,
      },
    );
    this.#ofDomains.set(keyOf('undefined', uuid), attentionOf(error));
  }

  /** @param path where the link stood, in place of a TPM directory */
  linkTaken(uuid: DomainUuid, path: string, target: string): void {
    const error = new MirrorError('STATE_LINKED', `${path} was a link to ${target} and was taken away`, {
      next: `nothing in ${target} was changed; if the share has no state of the domain, move it from there to ${path}`,
    });
    this.#ofDomains.set(keyOf('linked', uuid), attentionOf(error));
  }

  clear(topic: Topic, uuid: DomainUuid): void {
    this.#ofDomains.delete(keyOf(topic, uuid));
  }
}

function keyOf(topic: Topic, uuid: DomainUuid): string {
  return `${topic} ${uuid}`;
}

function attentionOf({ code, message, next }: MirrorError): Attention {
  return { code, message, next };
}
