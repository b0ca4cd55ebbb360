/**
 * generation-name: the file name of an immutable generation, unique for ever: the slot it aimed at, its writer's epoch and
 * host, the first 16 digits of its content digest (so that a listing alone tells equal states) and a random nonce.
 *
 *   00000041-e00000036-kvm-a-90ad17c2b1e4f603-5fb1c0d3a2b49e87.tar.gz
 *   00000042-e00000036-kvm-a-c3f0a1b2d4e59687-t77ab01c2d3e4f506-0b1c2d3e4f5a6978.tar.gz
 *   00000043-e00000036-kvm-a-9b1d0f2e4c6a8870-t5e4d3c2b1a098f7e-r00000042-6f0e1d2c3b4a5968.tar.gz
 *
 * A state that is more than a TPM (NVRAM) carries a second digest, after a `t`: that of its TPM alone.
 * So a listing tells, too, that a TPM's state was published before, whatever NVRAM it stood with. Names
 * of version 0.1.0 never have it: of those with NVRAM only the whole content is known.
 *
 * What is beside its TPM can lie in an earlier generation of the same epoch: then that one's slot
 * follows, after an `r`. So a listing alone tells what must stay together, whoever has the keys.
 */
import { invariant } from './errors.js';
import { isHostName, type HostName } from './identifiers.js';

/** A numbered place in a volume's log, from 1. */
export type Slot = number;

export const SLOT_DIGITS = 8;
/** Largest slot number that the names can carry in order. */
export const SLOT_MAX = 99_999_999;
/** Digits of the content digest that a name carries. */
export const DIGEST_PREFIX_DIGITS = 16;
export const GENERATION_SUFFIX = '.tar.gz';

export interface GenerationName {
  readonly slot: Slot;
  /** Slot of the claim under which it was written; 0 for the diverged copy of a host that had no claim. */
  readonly epoch: Slot;
  readonly host: HostName;
  readonly digestPrefix: string;
  /** Of the digest of its TPM alone (`tpmDigest`), where that is not the digest of the whole. */
  readonly tpmDigestPrefix?: string;
  /** The generation of this epoch that holds what is beside its TPM; `undefined`: it holds all itself. */
  readonly partsIn?: Slot;
  readonly nonce: string;
}

const NAME =
  /^(\d{8})-e(\d{8})-(.+)-([0-9a-f]{16})(?:-t([0-9a-f]{16})(?:-r(\d{8}))?)?-([0-9a-f]{16})\.tar\.gz$/;
const SLOT = /^\d{8}$/;

/** @param slot at most `SLOT_MAX`: a longer name would be no slot to any reader */
export function formatSlot(slot: Slot): string {
  invariant(
    Number.isInteger(slot) && slot >= 0 && slot <= SLOT_MAX,
    `a slot is 0 to ${SLOT_MAX}, not ${slot}`,
  );
  return String(slot).padStart(SLOT_DIGITS, '0');
}

/** The slot that a name in `log/` stands for, or `undefined` for anything else. */
export function parseSlot(name: string): Slot | undefined {
  if (!SLOT.test(name)) return undefined;
  const slot = Number(name);
  return slot >= 1 ? slot : undefined;
}

export function formatGenerationName(name: GenerationName): string {
  const place = `${formatSlot(name.slot)}-e${formatSlot(name.epoch)}`;
  const tpm = name.tpmDigestPrefix === undefined ? '' : `-t${name.tpmDigestPrefix}`;
  const parts = name.partsIn === undefined ? '' : `-r${formatSlot(name.partsIn)}`;
  return `${place}-${name.host}-${name.digestPrefix}${tpm}${parts}-${name.nonce}${GENERATION_SUFFIX}`;
}

export function parseGenerationName(text: string): GenerationName | undefined {
  const match = NAME.exec(text);
  if (!match) return undefined;
  const [, slotText = '', epochText = '', host = '', digestPrefix = '', tpmDigestPrefix] = match;
  const [partsText, nonce = ''] = match.slice(6);
  const slot = parseSlot(slotText);
  const epoch = Number(epochText);
  if (slot === undefined || epoch >= slot || !isHostName(host)) return undefined;
  const tpm = tpmDigestPrefix === undefined ? {} : { tpmDigestPrefix };
  const partsIn = partsText === undefined ? undefined : Number(partsText);
  if (partsIn !== undefined && (partsIn <= epoch || partsIn >= slot)) return undefined;
  return { slot, epoch, host, digestPrefix, ...tpm, ...(partsIn !== undefined && { partsIn }), nonce };
}

/** What a name tells of a state's content: its digests, cut to the digits that a name carries. */
export function contentPrefixes({
  digest,
  tpmDigest,
}: ContentDigests): Pick<GenerationName, 'digestPrefix' | 'tpmDigestPrefix'> {
  const digestPrefix = digest.slice(0, DIGEST_PREFIX_DIGITS);
  if (tpmDigest === digest) return { digestPrefix };
  return { digestPrefix, tpmDigestPrefix: tpmDigest.slice(0, DIGEST_PREFIX_DIGITS) };
}

/** The digests of one state: 64 hexadecimal digits each. */
export interface ContentDigests {
  readonly digest: string;
  /** Of its TPM alone; equal to `digest` where it has nothing else. */
  readonly tpmDigest: string;
}

/** Whether a name's generation has the TPM of a state, as far as the name tells: never a wrong yes. */
export function hasTpmOf(
  name: Pick<GenerationName, 'digestPrefix' | 'tpmDigestPrefix'>,
  { digest, tpmDigest }: ContentDigests,
): boolean {
  if (digest.startsWith(name.digestPrefix)) return true;
  return tpmDigest.startsWith(name.tpmDigestPrefix ?? name.digestPrefix);
}
