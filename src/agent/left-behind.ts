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
import type { VolumeReading } from '../volume/share-store.js';
import type { AgentContext } from './agent-context.js';
import { publishNote } from './publish-note.js';
import type { DomainTask } from './share-tasks.js';
import { gatherSituation, isFromDiskOf, relationToHead } from './situation.js';

/**
 * @param epoch the claim under which this host holds the volume now
 * @returns digests of the captures that must not follow the head
 */
export async function passOverOutdated(
  context: AgentContext,
  domain: DomainTask,
  epoch: Slot,
): Promise<string[]> {
  const { local, volume, record } = await gatherSituation(context, domain, false);
  if (volume?.head.kind !== 'whole') return [];
  const left = new Map<string, LocalRelation>();
  // Files go back in time with the disk alone, and within one boot they do not.
  if (local && record?.bootId !== context.bootId) {
    left.set(local.digest, relation(context, local, volume, context.bootId));
  }
  if (domain.capture) left.set(domain.capture.digest, relation(context, domain.capture, volume, ''));
  const outdated: string[] = [];
  for (const capture of [local, domain.capture]) {
    const found = capture && left.get(capture.digest);
    if (!capture || !found || found === 'same' || found === 'newer') continue;
    if (found === 'unknown') await keepDiverged(context, domain, epoch, capture);
    outdated.push(capture.digest);
  }
  return outdated;
}

/** @param bootId this boot, for what lies on the disk now; '' for what may have lain there earlier */
function relation(
  context: AgentContext,
  capture: Capture,
  volume: VolumeReading,
  bootId: string,
): LocalRelation {
  const { head, log } = volume;
  if (head.kind !== 'whole') return 'unknown';
  const { name, manifest, capture: stored } = head.generation;
  const isForeign =
    capture.identity !== undefined && stored.identity !== undefined && capture.identity !== stored.identity;
  if (isForeign) return 'unknown';
  const found = relationToHead({ ...context, bootId }, capture, volume);
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
