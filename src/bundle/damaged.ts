/**
 * damaged: the one error of a bundle that cannot be trusted, whatever broke it: a disk, a copy cut short, or somebody's hand.
 */
import { MirrorError } from '../model/errors.js';

/**
 * @param fault what is wrong, actual against expected; never content of the bundle other than quoted names
 */
export function damaged(fault: string, cause?: unknown): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot read bundle: ${fault}`, {
    next: 'take an older generation (`swtpm-mirror history DOMAIN` lists them) or another copy of this bundle',
    cause,
  });
}
