/**
 * spool-name: the file name of a spooled bundle. Within a domain the sequence number alone orders the entries.
 */
import { GENERATION_SUFFIX } from '../model/generation-name.js';

export interface SpoolName {
  readonly sequence: number;
  readonly digestPrefix: string;
  readonly nonce: string;
}

const SEQUENCE_DIGITS = 10;
const NAME = /^(\d{10})-([0-9a-f]{16})-([0-9a-f]{16})\.tar\.gz$/;

export function formatSpoolName({ sequence, digestPrefix, nonce }: SpoolName): string {
  return `${String(sequence).padStart(SEQUENCE_DIGITS, '0')}-${digestPrefix}-${nonce}${GENERATION_SUFFIX}`;
}

/** `undefined` for a name that no spooled bundle has. */
export function parseSpoolName(text: string): SpoolName | undefined {
  const match = NAME.exec(text);
  if (!match) return undefined;
  const [, sequence, digestPrefix = '', nonce = ''] = match;
  return { sequence: Number(sequence), digestPrefix, nonce };
}
