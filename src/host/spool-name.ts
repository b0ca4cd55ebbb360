/**
 * spool-name: the file name of a spooled bundle. Within a domain the sequence number alone orders the entries.
 */
import { GENERATION_SUFFIX } from '../model/generation-name.js';

/** `pending` waits for the share; `diverged` lost a race and is the operator's. */
export type SpoolKind = 'pending' | 'diverged';

export interface SpoolName {
  readonly kind: SpoolKind;
  readonly sequence: number;
  readonly digestPrefix: string;
  readonly nonce: string;
}

const SEQUENCE_DIGITS = 10;
const NAME = /^(diverged-)?(\d{10})-([0-9a-f]{16})-([0-9a-f]{16})\.tar\.gz$/;

export function formatSpoolName({ kind, sequence, digestPrefix, nonce }: SpoolName): string {
  const prefix = kind === 'diverged' ? 'diverged-' : '';
  return `${prefix}${String(sequence).padStart(SEQUENCE_DIGITS, '0')}-${digestPrefix}-${nonce}${GENERATION_SUFFIX}`;
}

/** `undefined` for a name that no spooled bundle has. */
export function parseSpoolName(text: string): SpoolName | undefined {
  const match = NAME.exec(text);
  if (!match) return undefined;
  const [, diverged, sequence, digestPrefix = '', nonce = ''] = match;
  return {
    kind: diverged === undefined ? 'pending' : 'diverged',
    sequence: Number(sequence),
    digestPrefix,
    nonce,
  };
}
