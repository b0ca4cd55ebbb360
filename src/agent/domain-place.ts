/**
 * domain-place: where a domain's state files lie on this host, as far as that differs from domain to domain.
 */
import type { Config } from '../model/config.js';
import type { Slot } from '../model/generation-name.js';
import type { NvramForm } from '../model/nvram.js';
import type { OwnTpmDirectory } from '../libvirt/domain-care.js';
import type { DomainUuid } from '../model/identifiers.js';

export interface DomainPlace {
  readonly uuid: DomainUuid;
  /** `undefined` when the domain has no NVRAM, or it is not mirrored. */
  readonly nvramPath: string | undefined;
  /** What its firmware variables are, where the domain's XML told. */
  readonly nvram?: NvramForm | undefined;
  /** The claim that names the directory in which swtpm works on the share itself; `undefined` when it works on this host. */
  readonly live?: Slot | undefined;
  /** Where its TPM's state lies, if not in libvirt's own place. */
  readonly tpm?: OwnTpmDirectory | undefined;
}

/** What somebody tells about a domain that is starting or runs. What is left out is as it was. */
export interface DomainFacts {
  readonly name?: string | undefined;
  /** `null`: the domain has none. */
  readonly nvramPath?: string | null | undefined;
  readonly nvram?: NvramForm | null | undefined;
  /** `null`: in libvirt's own place. */
  readonly tpm?: OwnTpmDirectory | null | undefined;
}

/** What is known of a domain's places, from its record or from a request. */
export interface KnownPlaces extends Pick<DomainFacts, 'nvramPath' | 'nvram' | 'tpm'> {
  readonly uuid: DomainUuid;
  readonly live?: Slot | null | undefined;
}

export function domainPlace(
  { libvirt }: Config,
  { uuid, nvramPath, nvram, live, tpm }: KnownPlaces,
): DomainPlace {
  return {
    uuid,
    nvramPath: libvirt.nvram ? (nvramPath ?? undefined) : undefined,
    ...(libvirt.nvram && nvram && { nvram }),
    live: live ?? undefined,
    tpm: tpm ?? undefined,
  };
}
