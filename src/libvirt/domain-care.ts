/**
 * domain-care: whether a domain is looked after, and where its TPM's state lies: the one rule, for the
 * hook, for what is met running, for `status` and `doctor` alike. Pure.
 *
 *   without-tpm    it has no TPM
 *   left-alone     its metadata asks for that
 *   unsupported    it has a TPM whose state this program does not store; `why` tells
 *   looked-after   an emulated TPM in libvirt's own place, or in a directory that its owner chose
 */
import { posix } from 'node:path';
import type { TpmDirectoryName } from '../model/capture.js';
import type { DomainUuid } from '../model/identifiers.js';
import { readDomain, type DomainXml, type EmulatedTpm } from './domain-xml.js';

/** The directory that a domain's owner chose for its TPM: `<source type='dir' path=…>`, libvirt 10.10. */
export interface OwnTpmDirectory {
  readonly role: TpmDirectoryName;
  /** Absolute and plain. */
  readonly directory: string;
}

interface Named {
  readonly uuid: DomainUuid;
  readonly name: string;
}

export type DomainCare =
  | (Named & { readonly kind: 'without-tpm' })
  | (Named & { readonly kind: 'left-alone' })
  | (Named & { readonly kind: 'unsupported'; readonly why: string })
  | (Named & {
      readonly kind: 'looked-after';
      readonly domain: DomainXml;
      /** `undefined`: libvirt's own place. */
      readonly own: OwnTpmDirectory | undefined;
    });

/** This host's record of the domain holds it, too. */
const PATH_BYTES_MAX = 512;
const CONTROL = /\p{Cc}/u;

/**
 * @param swtpmDir `libvirt.swtpm_dir` in the configuration
 * @throws MirrorError `XML_INVALID`
 */
export function careFor(xml: string, swtpmDir: string): DomainCare {
  const { uuid, name, domain, otherTpm } = readDomain(xml);
  const named = { uuid, name };
  if (!domain) {
    return otherTpm === undefined
      ? { ...named, kind: 'without-tpm' }
      : { ...named, kind: 'unsupported', why: otherKind(otherTpm) };
  }
  if (!domain.mirrored) return { ...named, kind: 'left-alone' };
  const { source } = domain.tpm;
  const usual = { ...named, kind: 'looked-after', domain, own: undefined } as const;
  if (source === undefined) return usual;
  if (source.type === 'file') {
    return unsupported(named, "its TPM's state is one file (<source type='file'>), not a directory");
  }
  if (source.type !== 'dir') {
    return unsupported(named, "its TPM's <source> is neither a directory nor a file");
  }
  const directory = plainDirectory(source.path);
  if (directory === undefined) {
    return unsupported(
      named,
      "the path of its TPM's <source> is not absolute, too long, or has control characters in it",
    );
  }
  const role = tpmRole(domain.tpm);
  if (directory === defaultDirectory(swtpmDir, uuid, role)) return usual;
  return { ...usual, own: { role, directory } };
}

/** Where libvirt itself puts it. */
export function defaultDirectory(swtpmDir: string, uuid: DomainUuid, role: TpmDirectoryName): string {
  return `${plainDirectory(swtpmDir) ?? swtpmDir}/${uuid}/${role}`;
}

/** libvirt's default of an emulated TPM is 2.0, and what its hooks get always names it. */
export function tpmRole({ version }: Pick<EmulatedTpm, 'version'>): TpmDirectoryName {
  return version === '1.2' ? 'tpm1.2' : 'tpm2';
}

/**
 * One spelling of each path: no `.`, `..`, doubled or last slash.
 *
 * @returns `undefined` for one that is not absolute, or that no record could hold
 */
export function plainDirectory(path: string): string | undefined {
  const isFit = path.startsWith('/') && !CONTROL.test(path) && Buffer.byteLength(path) <= PATH_BYTES_MAX;
  if (!isFit) return undefined;
  const plain = posix.normalize(path);
  return plain.length > 1 && plain.endsWith('/') ? plain.slice(0, -1) : plain;
}

function unsupported(named: Named, why: string): DomainCare {
  return { ...named, kind: 'unsupported', why };
}

function otherKind(type: string): string {
  switch (type) {
    case 'passthrough':
      return "its TPM is the host's own chip (type='passthrough'), whose state never leaves it";
    case 'external':
      return "its TPM is emulated by somebody else (type='external'), who alone knows where its state is";
    default:
      return 'its TPM is neither emulated by libvirt nor of a kind that is known here';
  }
}
