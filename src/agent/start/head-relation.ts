/**
 * head-relation: how what lies on this host's disk stands to a volume's head and to its log.
 */
import type { JournalRecord } from '../../host/journal-record.js';
import type { Capture } from '../../model/capture.js';
import { isOwn, type Self } from '../../model/host-identity.js';
import { relateToHead, type LocalRelation } from '../../model/local-relation.js';
import { claimedByAnother, claimOf, isHeadOwn } from '../../model/volume-log.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';

/** Reasons of a generation that an operator put into the volume: what lies on this host's disk is not what came after it. */
const PLACED: ReadonlySet<string> = new Set(['import', 'carried', 'rollback', 'revert', 'clone', 'resolve']);

/** Judged from the last claim of this host that is known; when that has been pruned away, others may have held the volume meanwhile. */
export function othersClaimed(
  { identity }: AgentContext,
  { log }: VolumeReading,
  record: JournalRecord | undefined,
): boolean {
  const epoch = record && record.epoch > 0 ? record.epoch : log.head?.epoch;
  if (epoch === undefined) return false;
  const claim = claimOf(log, epoch);
  const own = claim !== undefined && isOwn(claim, identity);
  return !own || claimedByAnother(log, identity, epoch);
}

/** Since when a domain may have run here from a state that nobody had judged. */
export function unjudgedSinceNs(
  { bootId, bootedAtMs }: Pick<AgentContext, 'bootId' | 'bootedAtMs'>,
  record: JournalRecord | undefined,
): bigint | undefined {
  return record?.bootId === bootId ? undefined : BigInt(Math.floor(bootedAtMs)) * 1_000_000n;
}

/** Whether the head is what this host's own disk held, so that the files' times can be compared. */
export function isHeadFromOwnDisk(self: Self, { log, head }: VolumeReading): boolean {
  return head.kind === 'whole' && !PLACED.has(head.generation.manifest.reason) && isHeadOwn(log, self);
}

/** @param bootId of `context`: '' when the capture may have been taken earlier in this boot */
export function relationToHead(
  { identity, bootId }: Pick<AgentContext, 'identity' | 'bootId'>,
  local: Capture,
  volume: VolumeReading,
  unjudgedSince: bigint | undefined,
): LocalRelation {
  if (volume.head.kind !== 'whole') return 'unknown';
  const { manifest, capture } = volume.head.generation;
  const below = volume.log.published.slice(0, -1);
  return relateToHead({
    local,
    head: { digest: capture.digest, files: capture.files, bootId: manifest.bootId },
    headIsOwn: isHeadFromOwnDisk(identity, volume),
    publishedBefore: below.map((entry) => entry.generation),
    bootId,
    unjudgedSinceNs: unjudgedSince,
  });
}
