/**
 * left-behind: what a former run of this program left of a domain, judged against the head before any of it may follow the head.
 *
 *   the spool's capture   may be from before a publish that came after it: the program died before it cleared the spool
 *   the file on disk      may be from before the head after a power loss, because swtpm does not sync
 *
 * I1 (G4) Only what is known to be newer than the head, of the same TPM, is left to be published.
 * I2 (G5) What is not known to be older is kept as a diverged copy before it is passed over.
 */
import type { Capture } from '../model/capture.js';
import type { Slot } from '../model/generation-name.js';
import type { LocalRelation } from '../model/local-relation.js';
import { isOtherTpm } from '../model/restore-plan.js';
import type { VolumeReading } from '../volume/share-store.js';
import type { AgentContext } from './agent-context.js';
import { publishNote } from './publish-note.js';
import type { DomainTask } from './share-tasks.js';
import { gatherSituation, isFromDiskOf, relationToHead, unjudgedSinceNs } from './situation.js';

export interface LeftBehind {
  /** Digests of the captures that must not follow the head. */
  readonly outdated: readonly string[];
  /** Of the head's TPM, where it is known. */
  readonly identity: string | undefined;
}

/** @param epoch the claim under which this host holds the volume now */
export async function judgeLeftBehind(
  context: AgentContext,
  domain: DomainTask,
  epoch: Slot,
): Promise<LeftBehind> {
  const { local, volume, record } = await gatherSituation(context, domain, false);
  if (volume?.head.kind !== 'whole') return { outdated: [], identity: undefined };
  const left = new Map<string, LocalRelation>();
  // Files go back in time with the disk alone, and within one boot they do not.
  if (local && record?.bootId !== context.bootId) {
    left.set(local.digest, relation(context, local, volume, unjudgedSinceNs(context, record)));
  }
  if (domain.capture) {
    left.set(domain.capture.digest, relation({ ...context, bootId: '' }, domain.capture, volume));
  }
  const outdated: string[] = [];
  for (const capture of [local, domain.capture]) {
    const found = capture && left.get(capture.digest);
    if (!capture || !found || found === 'same' || found === 'newer') continue;
    if (found === 'unknown') await keepDiverged(context, domain, epoch, capture);
    outdated.push(capture.digest);
  }
  return { outdated, identity: volume.head.generation.capture.identity };
}

/** @param context its boot is '' for what may have lain on the disk earlier */
function relation(
  context: AgentContext,
  capture: Capture,
  volume: VolumeReading,
  unjudgedSince?: bigint,
): LocalRelation {
  const { head, log } = volume;
  if (head.kind !== 'whole') return 'unknown';
  const { name, manifest, capture: stored } = head.generation;
  if (isOtherTpm(capture.identity, stored.identity)) return 'unknown';
  const found = relationToHead(context, capture, volume, unjudgedSince);
  if (found !== 'unknown' || isFromDiskOf(context.config.host, manifest)) return found;
  // Nothing was published since this host took the volume over: it started from that head, which was synced. Only a migration brings files
  // that were not.
  const isMigrated = log.entries.some(
    (entry) => entry.kind === 'claim' && entry.slot > name.slot && entry.reason === 'migration',
  );
  return isMigrated ? 'unknown' : 'newer';
}

async function keepDiverged(
  context: AgentContext,
  { uuid, name }: DomainTask,
  epoch: Slot,
  capture: Capture,
): Promise<void> {
  const note = publishNote(context, name, 'diverged');
  await context.share.diverge({ uuid, epoch, slot: epoch + 1, capture, note });
}
