/**
 * domain-place: where a domain's state files lie on this host, as far as that differs from domain to domain.
 */
import type { Config } from '../model/config.js';
import type { Slot } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';

export interface DomainPlace {
  readonly uuid: DomainUuid;
  /** `undefined` when the domain has no NVRAM, or it is not mirrored. */
  readonly nvramPath: string | undefined;
  /** The claim that names the directory in which swtpm works on the share itself; `undefined` when it works on this host. */
  readonly live?: Slot | undefined;
}

/** What somebody tells about a domain that is starting or runs. What is left out is as it was. */
export interface DomainFacts {
  readonly name?: string | undefined;
  readonly nvramPath?: string | undefined;
}

export function domainPlace(
  { libvirt }: Config,
  uuid: DomainUuid,
  nvramPath: string | null | undefined,
  live: Slot | null | undefined,
): DomainPlace {
  return {
    uuid,
    nvramPath: libvirt.nvram ? (nvramPath ?? undefined) : undefined,
    live: live ?? undefined,
  };
}
