/**
 * local-origin: who left the TPM state that lies on this host's disk, as far as that is proved. Pure.
 *
 *   run      what the last run here left, or what this host itself put there
 *   placed   somebody else put it there: another program, a person, a run that this host was not told of
 *   reverted from before the end of the last run here, which is known: a power loss took the disk back
 *   unknown  nothing proves any of these: the last run did not end in good order, or there is no journal
 *
 * The journal knows the TPM that the last run left only where that run ended in good order (`finalTpm`),
 * be it under the head or as a diverged copy: then nothing of this host's own can have changed it since. Times are those of one host's clock: when
 * its file changed last (ctime, which no archive brings with it) and when its journal was last written.
 *
 * I1 `placed` is never said of what a power loss may have brought back: after a restart of the host it
 *    takes a change that is younger than the journal.
 */

export type LocalOrigin = 'run' | 'placed' | 'reverted' | 'unknown';

export interface OriginFacts {
  /** Digest of the TPM that lies there (`tpmDigest`). */
  readonly localTpm: string;
  /** Of the TPM that the last run here left, where it ended in good order and is stored. */
  readonly finalTpm: string | undefined;
  /** The whole state is what this host last published or restored. */
  readonly isJournalled: boolean;
  /** It was last changed before this boot of the host: a power loss may have brought it back. */
  readonly isFromBeforeBoot: boolean;
  /** Its file changed after the last run here ended; `undefined` when that cannot be told. */
  readonly changedSince: boolean | undefined;
  /** It was published before the head, which this host published from this very disk in this boot. */
  readonly isBehindOwnHead: boolean;
}

export function originOf(facts: OriginFacts): LocalOrigin {
  const { localTpm, finalTpm, isJournalled, isFromBeforeBoot, changedSince, isBehindOwnHead } = facts;
  if (isJournalled || localTpm === finalTpm) return 'run';
  // Within one boot a disk does not go back in time.
  if (isBehindOwnHead || changedSince === true) return 'placed';
  if (finalTpm === undefined) return 'unknown';
  if (!isFromBeforeBoot) return 'placed';
  return changedSince === false ? 'reverted' : 'unknown';
}
