/**
 * left-out: a VM on this host that has a TPM and is not looked after, and why. Nothing of it is stored
 * anywhere: that is said wherever an operator may look for it.
 */
import type { DomainCare } from '../libvirt/domain-care.js';
import { MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';

export interface LeftOut {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly why: string;
  /** Its own metadata asks for it, so that it is no news. */
  readonly isAskedFor: boolean;
}

/** @returns `undefined` for one that is looked after, or has no TPM */
export function leftOutOf(care: DomainCare): LeftOut | undefined {
  const { uuid, name } = care;
  switch (care.kind) {
    case 'left-alone':
      return { uuid, name, why: 'its metadata asks to be left alone (enabled="no")', isAskedFor: true };
    case 'unsupported':
      return { uuid, name, why: care.why, isAskedFor: false };
    case 'looked-after':
    case 'without-tpm':
      return undefined;
  }
}

export function unprotected({ uuid, name, why }: LeftOut): MirrorError {
  return new MirrorError('UNPROTECTED', `the TPM of ${name} (${uuid}) is stored nowhere: ${why}`, {
    next: 'let libvirt keep its emulated TPM in a directory (no <source>, or <source type=\'dir\'>), or say in its metadata that this is meant: <mirror xmlns="urn:swtpm-mirror:domain" enabled="no"/>',
  });
}
