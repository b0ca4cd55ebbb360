/**
 * confirm: what takes data away, or puts something else in its place, is said first and done only with `--yes`.
 */
import { MirrorError } from '../model/errors.js';

/** @throws MirrorError `CONFIRMATION_NEEDED` unless `yes` */
export function confirm(yes: boolean | undefined, consequence: string): void {
  if (yes) return;
  throw new MirrorError('CONFIRMATION_NEEDED', consequence, {
    next: 'if that is meant, run it again with --yes',
  });
}
