/**
 * placed-state: what an operator is told of a TPM state that somebody else put in place before a start:
 * the refusal, and what was chosen for him by `start.local_state` or the domain's own metadata.
 */
import { isTpmRole, type Capture } from '../../model/capture.js';
import { MirrorError } from '../../model/errors.js';
import { hasTpmOf } from '../../model/generation-name.js';
import { tpmDigest } from '../../model/hash.js';
import type { SnapshotName } from '../../model/identifiers.js';
import type { Situation } from './situation.js';

export function statePlaced(situation: Situation): MirrorError {
  const { uuid } = situation;
  const why = situation.record
    ? 'it is not what the last run here left'
    : 'no run of this host is known that left it';
  return new MirrorError(
    'STATE_PLACED',
    `the TPM state of ${uuid} on this host was put there by somebody else (${why}): ${bothStates(situation)}`,
    {
      next: `choose: \`swtpm-mirror resolve ${uuid} --keep head\` goes on with the volume's state, \`--keep local\` with this host's; the other one is kept. Where a manager puts states in place as a rule, set start.local_state, or local-state in the domain's metadata`,
    },
  );
}

/** The placed state is the head now. */
export function placedWon(situation: Situation, snapshot: SnapshotName): MirrorError {
  const { uuid } = situation;
  return new MirrorError(
    'STATE_PLACED',
    `${uuid} was started from a TPM state that was put in place on this host: ${bothStates(situation)}; the head before is kept as snapshot ${snapshot}`,
    {
      next: `if that was not meant, stop the domain and run \`swtpm-mirror snapshot revert ${uuid} ${snapshot}\`; local_state = "manager" chose it`,
    },
  );
}

/** The placed state is a diverged copy now. */
export function placedLost(situation: Situation): MirrorError {
  const { uuid } = situation;
  return new MirrorError(
    'STATE_PLACED',
    `${uuid} was started from its volume, not from a TPM state that was put in place on this host: ${bothStates(situation)}; the state that was put there is kept as a diverged copy`,
    {
      next: `if that was not meant, stop the domain and run \`swtpm-mirror resolve ${uuid} --keep diverged\`; local_state = "share" chose it`,
    },
  );
}

/** Times and generations of both. */
function bothStates(situation: Situation): string {
  return `it ${localText(situation)}; ${headText(situation)}`;
}

function localText({ local, volume }: Situation): string {
  if (!local) return 'cannot be read';
  const written = `was last written at ${writtenAt(local)}`;
  const digests = { digest: local.digest, tpmDigest: tpmDigest(local.files) };
  const same = volume?.log.published.findLast(({ generation }) => hasTpmOf(generation, digests));
  return same
    ? `${written} and is generation ${String(same.slot)} of its volume`
    : `${written} and is no generation of its volume`;
}

function writtenAt({ files }: Capture): string {
  const times = files.filter(({ role }) => isTpmRole(role)).map(({ mtimeNs }) => mtimeNs);
  const latest = times.reduce((one, other) => (one > other ? one : other), 0n);
  const date = new Date(Number(latest / 1_000_000n));
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString();
}

function headText({ volume }: Situation): string {
  if (volume?.head.kind !== 'whole') return "the volume's head is not known";
  const { name, manifest } = volume.head.generation;
  return `the head of its volume is generation ${String(name.slot)} of ${manifest.time} by ${manifest.host}`;
}
