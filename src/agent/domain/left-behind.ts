/**
 * left-behind: what a former run of this program left of a domain, judged against the head before any of it may follow the head.
 *
 *   the spool's capture   may be from before a publish that came after it: the program died before it cleared the spool
 *   the file on disk      may be from before the head, or before the spool's capture, after a power loss, because swtpm does not sync
 *
 * I1 (G4) Only what is known to be newer than the head, of the same TPM, is left to be published.
 * I2 (G5) What is not known to be older is kept as a diverged copy before it is passed over.
 */
import type { Capture, StateFile } from '../../model/capture.js';
import type { Slot } from '../../model/generation-name.js';
import { relateToHead, type LocalRelation } from '../../model/local-relation.js';
import { partsOf } from '../../model/parts.js';
import { isOtherTpm } from '../../model/restore-plan.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import { publishNote } from '../share/publish-note.js';
import type { DomainTask } from './domain-task.js';
import { isHeadFromOwnDisk, relationToHead, unjudgedSinceNs } from '../start/head-relation.js';
import { gatherSituation } from '../start/situation.js';

export interface LeftBehind {
  /** Digests of the captures that must not follow the head. */
  readonly outdated: readonly string[];
  /** Of the head's TPM, where it is known. */
  readonly identity: string | undefined;
  /** What the head has beside the TPM. */
  readonly parts: readonly StateFile[];
}

/**
 * @param epoch the claim under which this host holds the volume now
 * @throws MirrorError when the share does not answer: then nothing is judged, and nothing may be published
 */
export async function judgeLeftBehind(
  context: AgentContext,
  domain: DomainTask,
  epoch: Slot,
): Promise<LeftBehind> {
  const { local, volume, record, shareError } = await gatherSituation(context, domain);
  if (shareError) throw shareError;
  const isUnsynced = record?.bootId !== context.bootId;
  if (volume?.head.kind !== 'whole') {
    const outdated = local && isUnsynced ? await outdatedBySpool(context, domain, epoch, local) : [];
    return { outdated, identity: undefined, parts: [] };
  }
  const left = new Map<string, LocalRelation>();
  const spooled = domain.capture && relationOfSpooled(context, domain.capture, volume);
  // Files go back in time with the disk alone, and within one boot they do not.
  if (local && isUnsynced) {
    left.set(
      local.digest,
      await relationOfFile(context, local, volume, spooled === 'newer', unjudgedSinceNs(context, record)),
    );
  }
  if (domain.capture && spooled) left.set(domain.capture.digest, spooled);
  const outdated: string[] = [];
  for (const capture of [local, domain.capture]) {
    const found = capture && left.get(capture.digest);
    if (!capture || !found || found === 'same' || found === 'newer') continue;
    if (found === 'unknown') await keepDiverged(context, domain, epoch, capture);
    outdated.push(capture.digest);
  }
  const { capture } = volume.head.generation;
  return { outdated, identity: capture.identity, parts: partsOf(capture) };
}

/** Nothing was published yet, so that what the spool has is the last state known. */
async function outdatedBySpool(
  context: AgentContext,
  domain: DomainTask,
  epoch: Slot,
  local: Capture,
): Promise<string[]> {
  const found = await relationToSpool(context, local, unjudgedSinceNs(context, undefined));
  if (found === undefined || found === 'same' || found === 'newer') return [];
  if (found === 'unknown') await keepDiverged(context, domain, epoch, local);
  return [local.digest];
}

/** What the spool has was synced when it was captured; its file may lie there no more. */
function relationOfSpooled(context: AgentContext, capture: Capture, volume: VolumeReading): LocalRelation {
  if (isForeign(capture, volume)) return 'unknown';
  const found = relationToHead({ ...context, bootId: '' }, capture, volume, undefined);
  // Nothing was published since this host took the volume over, so the capture is of what came after that head.
  return found === 'unknown' && !isHeadFromOwnDisk(context.identity, volume) ? 'newer' : found;
}

function relationOfUnsynced(
  context: AgentContext,
  local: Capture,
  volume: VolumeReading,
  unjudgedSince: bigint | undefined,
): LocalRelation {
  if (isForeign(local, volume)) return 'unknown';
  const found = relationToHead(context, local, volume, unjudgedSince);
  if (found !== 'unknown' || isHeadFromOwnDisk(context.identity, volume)) return found;
  // The same, but that the files go back: to that head, which was synced when it was restored. Only a migration brings files that were not.
  const { head, log } = volume;
  const since = head.kind === 'whole' ? head.generation.name.slot : 0;
  const isMigrated = log.entries.some(
    (entry) => entry.kind === 'claim' && entry.slot > since && entry.reason === 'migration',
  );
  return isMigrated ? 'unknown' : 'newer';
}

function isForeign({ identity }: Capture, { head }: VolumeReading): boolean {
  return head.kind === 'whole' && isOtherTpm(identity, head.generation.capture.identity);
}

/** @param isSpoolAhead of the head: then the file is judged against what is in the spool */
async function relationOfFile(
  context: AgentContext,
  local: Capture,
  volume: VolumeReading,
  isSpoolAhead: boolean,
  unjudgedSince: bigint | undefined,
): Promise<LocalRelation> {
  const toHead = relationOfUnsynced(context, local, volume, unjudgedSince);
  const toSpool = isSpoolAhead ? await relationToSpool(context, local, unjudgedSince) : undefined;
  if (toSpool === undefined) return toHead;
  const isBehind = toSpool !== 'same' && (toHead === 'same' || toHead === 'older');
  return isBehind ? 'older' : toSpool;
}

/** @returns how the file stands to the newest capture in the spool; `undefined` without one */
async function relationToSpool(
  { spool, bootId }: AgentContext,
  local: Capture,
  unjudgedSince: bigint | undefined,
): Promise<LocalRelation | undefined> {
  const { newest } = await spool.peek(local.uuid);
  if (!newest) return undefined;
  const { capture, manifest } = newest;
  return relateToHead({
    local,
    head: { digest: capture.digest, files: capture.files, bootId: manifest.bootId },
    headIsOwn: true,
    publishedBefore: [],
    bootId,
    unjudgedSinceNs: unjudgedSince,
  });
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
