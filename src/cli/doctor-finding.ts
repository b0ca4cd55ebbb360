/**
 * doctor-finding: what one check of `doctor` found: all well, something to know, or something to mend.
 */
import { asHostError } from '../host/host-error.js';
import { asMirrorError, type ErrorCode } from '../model/errors.js';

export interface Finding {
  /** What was looked at: `share`, `hook`, … */
  readonly check: string;
  readonly verdict: 'ok' | 'warning' | 'problem';
  readonly message: string;
  /** What the operator does; not for `ok`. */
  readonly next?: string;
  /** Of a problem. */
  readonly code?: ErrorCode;
}

export function ok(check: string, message: string): Finding {
  return { check, verdict: 'ok', message };
}

export function warning(check: string, message: string, next: string): Finding {
  return { check, verdict: 'warning', message, next };
}

export function problem(check: string, error: unknown): Finding {
  const { code, message, next } = asMirrorError(asHostError(`check ${check}`, error));
  return { check, verdict: 'problem', code, message, next };
}
