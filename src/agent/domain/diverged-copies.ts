/**
 * diverged-copies: which of a run's diverged copies a later one replaces, so that a fenced host keeps its newest state and not every one.
 *
 * I1 Only a copy of the same TPM from the same boot is replaced: within a boot a file does not go back in time, and a TPM that is not
 *    known may be another.
 */
import type { Capture } from '../../model/capture.js';

export class DivergedCopies {
  /** By boot and TPM. */
  readonly #newest = new Map<string, string>();

  /** @returns the digest of the copy that the capture comes after */
  before({ identity, digest }: Pick<Capture, 'identity' | 'digest'>, bootId: string): string | undefined {
    const newest = identity === undefined ? undefined : this.#newest.get(`${bootId} ${identity}`);
    return newest === digest ? undefined : newest;
  }

  /** The capture is durable as a diverged copy. */
  kept({ identity, digest }: Pick<Capture, 'identity' | 'digest'>, bootId: string): void {
    if (identity !== undefined) this.#newest.set(`${bootId} ${identity}`, digest);
  }
}
