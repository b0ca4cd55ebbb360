/**
 * share-tasks: the lifecycle's tasks on the share, carried out. Each takes what it needs and gives the one event that tells how it ended.
 *
 * I1 A failure that leaves a commit in doubt is told apart from one that changed nothing (`inDoubt`): only a claim may follow the first.
 */
import { asMirrorError, invariant } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import { canCommitUnder } from '../../model/host-identity.js';
import type { DomainUuid, HostName } from '../../model/identifiers.js';
import type { ShareTask } from '../../model/lifecycle-state.js';
import type { VolumeLog } from '../../model/volume-log.js';
import { adopt, claim, held, inDoubt as stillInDoubt, isSettled, recover } from './acquire.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainTask, TaskOutcome } from './domain-task.js';
import { publishNote } from '../share/publish-note.js';
import { claimStands, lookAtVolume } from '../share/volume-look.js';

export async function runShareTask(
  context: AgentContext,
  domain: DomainTask,
  task: ShareTask,
): Promise<TaskOutcome> {
  try {
    switch (task.kind) {
      case 'acquire':
        return task.how === 'recover'
          ? await recover(context, domain, task)
          : await adopt(context, domain, task.how);
      case 'publish':
        return await publish(context, domain, task);
      case 'release':
        return await release(context, domain, task);
      case 'diverge':
        return await diverge(context, domain, task.epoch);
      case 'give-back':
        return await giveBack(context, domain, task);
      case 'confirm':
        return await confirm(context, domain, task);
      case 'tidy':
        return await tidy(context, domain, task.epoch);
    }
  } catch (error) {
    const cause = asMirrorError(error);
    return { event: { kind: 'share-failed', inDoubt: cause.code === 'OUTCOME_UNKNOWN' }, error: cause };
  }
}

async function publish(
  context: AgentContext,
  { uuid, name, capture, bootId, reason }: DomainTask,
  { epoch, slot, parent }: Extract<ShareTask, { kind: 'publish' }>,
): Promise<TaskOutcome> {
  invariant(capture !== undefined, 'a publish carries a capture');
  const note = publishNote(context, name, reason, bootId);
  const outcome = await context.share.publish({ uuid, epoch, slot, parent, capture, note });
  if (outcome.kind !== 'committed') return lostSlot(outcome.by);
  const at = new Date(context.clock.nowMs()).toISOString();
  return { event: { kind: 'published', slot, digest: capture.digest, at } };
}

async function release(
  context: AgentContext,
  { uuid }: DomainTask,
  { epoch, slot, reason }: Extract<ShareTask, { kind: 'release' }>,
): Promise<TaskOutcome> {
  const outcome = await context.share.closeEpoch({ uuid, kind: 'release', epoch, slot, reason });
  return outcome.kind === 'committed' ? { event: { kind: 'released' } } : lostSlot(outcome.by);
}

/** What is in doubt is settled by looking again: the volume is not held any more, or still is; or by a claim in the place of one in doubt. */
async function giveBack(
  context: AgentContext,
  domain: DomainTask,
  { reason, inDoubt, logTop }: Extract<ShareTask, { kind: 'give-back' }>,
): Promise<TaskOutcome> {
  const { uuid } = domain;
  const { volume } = await lookAtVolume(context, uuid);
  if (volume?.holder?.self) {
    const { lastClaim, top } = volume.log;
    // What it claimed in an earlier boot, or under another name, it closes by a claim of this one.
    const canClose = lastClaim !== undefined && canCommitUnder(lastClaim, context.identity);
    return canClose
      ? await closeOwn(context, uuid, volume.log, reason)
      : await closeByClaim(context, domain, { scope: 'own', top, reason });
  }
  if (!inDoubt || (volume && isSettled(volume.log, logTop))) return { event: { kind: 'released' } };
  if (volume && (volume.holder ?? volume.log.tombstone)) return stillInDoubt(uuid, volume.log, logTop);
  return await closeByClaim(context, domain, { scope: 'free', top: volume?.log.top ?? 0, reason });
}

interface ClosingClaim {
  readonly scope: 'own' | 'free';
  /** Where the log ended when it was read. */
  readonly top: Slot;
  readonly reason: string;
}

async function closeByClaim(
  context: AgentContext,
  domain: DomainTask,
  { scope, top, reason }: ClosingClaim,
): Promise<TaskOutcome> {
  const outcome = await claim(context, domain, 'recover', scope, top);
  return outcome.kind === 'claimed'
    ? await closeOwn(context, domain.uuid, outcome.log, reason)
    : { event: { kind: 'share-failed', inDoubt: true } };
}

/** @param log ends with a claim of this host */
async function closeOwn(
  { share }: AgentContext,
  uuid: DomainUuid,
  { epoch, top }: VolumeLog,
  reason: string,
): Promise<TaskOutcome> {
  const outcome = await share.closeEpoch({ uuid, kind: 'release', epoch, slot: top + 1, reason });
  return {
    event: outcome.kind === 'committed' ? { kind: 'released' } : { kind: 'share-failed', inDoubt: true },
  };
}

/** Somebody else's entry means fenced; our own, from a commit that was given up on, means that we must look again. */
function lostSlot(by: HostName | undefined): TaskOutcome {
  if (by !== undefined) return { event: { kind: 'fenced', by } };
  return { event: { kind: 'share-failed', inDoubt: true } };
}

async function diverge(
  context: AgentContext,
  { uuid, name, capture, bootId, supersedes }: DomainTask,
  epoch: number,
): Promise<TaskOutcome> {
  invariant(capture !== undefined, 'a diverged copy carries a capture');
  const note = publishNote(context, name, 'diverged', bootId);
  await context.share.diverge({ uuid, epoch, slot: epoch + 1, capture, note, supersedes });
  return { event: { kind: 'diverged', digest: capture.digest } };
}

/** Whether this host's claim is still the last word of its volume. Whatever else stands there is settled by a claim. */
async function confirm(
  context: AgentContext,
  { uuid }: DomainTask,
  { epoch, slot }: Extract<ShareTask, { kind: 'confirm' }>,
): Promise<TaskOutcome> {
  const stands = await claimStands(context, uuid, { epoch, next: slot });
  return { event: stands ? { kind: 'confirmed' } : { kind: 'doubted' } };
}

async function tidy(context: AgentContext, domain: DomainTask, epoch: number): Promise<TaskOutcome> {
  const { uuid, live } = domain;
  const keep = context.config.retention.generations;
  const result = await context.share.tidy({ uuid, epoch, keep, live });
  const { strangers } = result;
  if (!result.needsCompaction) return { event: { kind: 'tidied' }, strangers };
  return { ...held(await claim(context, domain, 'compact', 'own'), domain), strangers };
}
