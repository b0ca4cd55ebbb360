/**
 * nvram: what a domain keeps its firmware's variables in, and whether a stored copy suits it. Pure.
 *
 * I1 A format is told by content, never by a name: bytes of one format never go where another is expected.
 */
import type { PartRole, StateFile } from './capture.js';
import { contentBytes } from './content.js';

export type NvramFormat = 'raw' | 'qcow2' | 'json';

/** What the domain's XML says of its variables, beside where they lie. */
export interface NvramForm {
  readonly role: PartRole;
  /** What QEMU will take the file for; `undefined` when nobody said. */
  readonly format: NvramFormat | undefined;
  /** It is a block device. */
  readonly device: boolean;
  /** What a fresh one is made from, where the XML names it. */
  readonly template?: string | undefined;
  /** The machine's architecture, as libvirt calls it. */
  readonly arch?: string | undefined;
  /** The firmware itself, where the XML names it. */
  readonly loader?: string | undefined;
  /** Why it can be neither read nor restored: `on a network disk`. */
  readonly unsupported?: string | undefined;
}

export const FILE_FORM: NvramForm = { role: 'nvram', format: undefined, device: false };

const QCOW2_MAGIC = [0x51, 0x46, 0x49, 0xfb];
const QCOW2_SIZE_AT = 24;
/** As much of a file as tells its format and size. */
export const NVRAM_HEAD_BYTES = 64;
/** A UEFI firmware volume has its signature there. */
const VOLUME_SIGNATURE = '_FVH';
const VOLUME_SIGNATURE_AT = 40;

/** @param head the first bytes of the file */
export function formatOf(role: PartRole, head: Uint8Array): NvramFormat {
  if (role === 'varstore') return 'json';
  return QCOW2_MAGIC.every((byte, at) => head[at] === byte) ? 'qcow2' : 'raw';
}

/** How many bytes the firmware sees. @param bytes the file's own size */
export function flashBytes(format: NvramFormat, head: Uint8Array, bytes: number): number | undefined {
  if (format === 'json') return undefined;
  if (format === 'raw') return bytes;
  if (head.length < QCOW2_SIZE_AT + 8) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return Number(view.getBigUint64(QCOW2_SIZE_AT));
}

/** What is known of a file of variables without all of its content. */
export interface NvramFacts {
  readonly format: NvramFormat;
  /** As the firmware sees it; `undefined` for JSON, and for an image that does not say. */
  readonly flashBytes: number | undefined;
  /** It is raw flash with a firmware volume in it. */
  readonly isVolume: boolean;
}

export function nvramFacts(role: PartRole, head: Uint8Array, bytes: number): NvramFacts {
  const format = formatOf(role, head);
  const signature = Buffer.from(head.subarray(VOLUME_SIGNATURE_AT, VOLUME_SIGNATURE_AT + 4)).toString(
    'latin1',
  );
  const isVolume = format === 'raw' && signature === VOLUME_SIGNATURE;
  return { format, flashBytes: flashBytes(format, head, bytes), isVolume };
}

/** What this host's firmware expects. */
export interface ExpectedNvram {
  readonly format: NvramFormat | undefined;
  /** Every size that would do; none when nobody knows. */
  readonly flashBytes: readonly number[];
  /** They are those of every firmware that may be chosen: only what is firmware's for certain is judged by them. */
  readonly isGuess: boolean;
}

/** @returns why a file does not suit the firmware; `undefined` when nothing speaks against it */
export function unsuitable(file: NvramFacts, expected: ExpectedNvram): string | undefined {
  if (expected.format !== undefined && file.format !== expected.format) {
    return `it is ${file.format}, and the domain's XML asks for ${expected.format}`;
  }
  const { flashBytes: size } = file;
  const sizes = expected.isGuess && !file.isVolume ? [] : expected.flashBytes;
  if (size === undefined || sizes.length === 0 || sizes.includes(size)) return undefined;
  return `it has ${String(size)} bytes, and the firmware's own template ${sizes.map(String).join(' or ')}`;
}

/** What stands in the place of the variables on this host. */
export type StandingNvram =
  | { readonly kind: 'missing' }
  | ({ readonly kind: 'file' } & NvramFacts)
  /** No regular file, or not the device that was asked for. */
  | { readonly kind: 'unfit' };

export interface NvramQuestion {
  /** The part in the generation that the domain starts from. */
  readonly stored: NvramFacts | undefined;
  /** The generation has variables of another kind. */
  readonly otherRole: boolean;
  /** It had some, which the volume has lost: why. */
  readonly lost?: string | undefined;
  readonly standing: StandingNvram;
  readonly expected: ExpectedNvram;
  /** The TPM comes from the volume, so that what stands is not of this state. */
  readonly restoring: boolean;
  readonly mismatch: 'fresh' | 'refuse';
}

export type NvramDecision =
  /** What stands there stays, or there is nothing to put there. */
  | { readonly kind: 'keep'; readonly problem?: string | undefined }
  | { readonly kind: 'write' }
  /** The stored one stays in the volume, and libvirt makes a fresh one; `clear`: what stands there makes room for it. */
  | { readonly kind: 'fresh'; readonly why: string; readonly clear: boolean }
  | { readonly kind: 'refuse'; readonly why: string };

/**
 * I2 What stands and suits is never replaced by what does not; and what does not suit is never put in place.
 * I3 A domain whose own TPM state stays keeps its variables, whatever they are: only what is missing is written.
 */
export function planNvram(question: NvramQuestion): NvramDecision {
  const { stored, otherRole, lost, standing, expected, restoring, mismatch } = question;
  const misfit = standing.kind === 'file' ? unsuitable(standing, expected) : undefined;
  if (standing.kind === 'unfit' || (!restoring && standing.kind === 'file')) {
    return { kind: 'keep', problem: misfit };
  }
  const why = stored ? unsuitable(stored, expected) : (lost ?? (otherRole ? OTHER_KIND : undefined));
  if (why !== undefined) {
    if (standing.kind === 'file' && misfit === undefined) return { kind: 'keep' };
    return mismatch === 'refuse'
      ? { kind: 'refuse', why }
      : { kind: 'fresh', why, clear: standing.kind === 'file' };
  }
  return stored ? { kind: 'write' } : { kind: 'keep', problem: misfit };
}

const OTHER_KIND =
  'it holds variables of another kind (NVRAM and JSON variables cannot stand for each other)';

export function factsOfFile(file: StateFile, role: PartRole): NvramFacts {
  return nvramFacts(role, file.data.subarray(0, NVRAM_HEAD_BYTES), contentBytes(file));
}
