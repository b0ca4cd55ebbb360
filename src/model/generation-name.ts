/**
 * generation-name: the file name of an immutable generation, unique for ever: the slot it aimed at, its writer's epoch and
 * host, the first 16 digits of its content digest (so that a listing alone tells equal states) and a random nonce.
 *
 *   00000041-e00000036-kvm-a-90ad17c2b1e4f603-5fb1c0d3a2b49e87.tar.gz
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
  readonly nonce: string;
}

const NAME = /^(\d{8})-e(\d{8})-(.+)-([0-9a-f]{16})-([0-9a-f]{16})\.tar\.gz$/;
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
  return `${place}-${name.host}-${name.digestPrefix}-${name.nonce}${GENERATION_SUFFIX}`;
}

export function parseGenerationName(text: string): GenerationName | undefined {
  const match = NAME.exec(text);
  if (!match) return undefined;
  const [, slotText = '', epochText = '', host = '', digestPrefix = '', nonce = ''] = match;
  const slot = parseSlot(slotText);
  const epoch = Number(epochText);
  if (slot === undefined || epoch >= slot || !isHostName(host)) return undefined;
  return { slot, epoch, host, digestPrefix, nonce };
}
