/**
 * unread: a generation or snapshot that could not be read. What this host has no key
 * for, what a newer version wrote, or what lies in the clear where none may, is not damaged.
 */
import type { ErrorRecord } from '../model/errors.js';

const UNOPENED: Readonly<Partial<Record<ErrorRecord['code'], string>>> = {
  KEY_MISSING: 'no key here',
  SHARE_VERSION: 'written by a newer version',
  PLAIN_REFUSED: 'stored in the clear: refused',
};

/** What an archive says that does not say whether it is damaged. */
const UNANSWERED: ReadonlySet<string> = new Set(['SHARE_TIMEOUT', 'SHARE_UNAVAILABLE', 'SHARE_DENIED']);

export function unreadText({ code, message }: ErrorRecord): string {
  const what = UNANSWERED.has(code) ? 'NOT READ' : 'DAMAGED';
  return UNOPENED[code] ?? `${what}: ${message}`;
}

export function unreadJson(error: ErrorRecord | undefined): object {
  if (!error) return {};
  const { code, message } = error;
  return code in UNOPENED ? { unopened: { code, message } } : { damage: { code, message } };
}
