/**
 * share-tasks: the lifecycle's tasks on the share, carried out. Each takes what it needs and gives the one event that tells how it ended.
 *
 * I1 A failure that leaves a commit in doubt is told apart from one that changed nothing (`inDoubt`): only a claim may follow the first.
 */
import type { Arrival } from '../host/journal.js';
import type { Capture } from '../model/capture.js';
import { asMirrorError, invariant, MirrorError } from '../model/errors.js';
import type { DomainUuid, HostName } from '../model/identifiers.js';
import type { LifecycleEvent, PublishedState, ShareTask } from '../model/lifecycle-state.js';
import { isOtherTpm, planRestore } from '../model/restore-plan.js';
import type { Slot } from '../model/generation-name.js';
import { takeOverIn, type TakeOver } from '../model/take-over.js';
import { claimOfAnother, type VolumeLog } from '../model/volume-log.js';
import type { GenerationReason } from '../bundle/manifest.js';
import { START_FAILED, type ClaimReason, type LogEntry } from '../model/log-entry.js';
import type { ClaimOutcome, ClaimScope } from '../volume/share-store.js';
import type { AgentContext } from './agent-context.js';
import { cameDirectly } from './arrived-by-migration.js';
import type { DomainPlace } from './domain-place.js';
import { judgeLeftBehind, type LeftBehind } from './left-behind.js';
import { publishNote } from './publish-note.js';
import { refusal } from './refusal.js';
import { gatherSituation, type Situation } from './situation.js';

export interface DomainTask extends DomainPlace {
  readonly name: string;
  /** The pending capture. */
  readonly capture: Capture | undefined;
  /** The boot in which it was read from the disk. */
  readonly bootId: string;
  /** What this host last knew to be the head. */
  readonly published: PublishedState | undefined;
  readonly reason: GenerationReason;
  /** Whether the domain has stopped here and nothing of it is left to publish. */
  readonly over: boolean;
  /** Its claim is one of a former run of this program. */
  readonly recalled: boolean;
  /** Digest of the diverged copy that the capture comes after, if any. */
  readonly supersedes: string | undefined;
  /** Of a domain that came by migration. */
  readonly arrival: Arrival | undefined;
}

export interface TaskOutcome {
  readonly event: LifecycleEvent;
  /** What the operator should know, beside the event. */
  readonly error?: MirrorError;
  /** Of the head's TPM, where the task has learnt it. */
  readonly identity?: string | undefined;
  /** How this host came to the volume, when it took it from another one. */
  readonly takenOver?: TakeOver | undefined;
}

export async function runShareTask(
  context: AgentContext,
  domain: DomainTask,
  task: ShareTask,
): Promise<TaskOutcome> {
  try {
    switch (task.kind) {
      case 'acquire':
        return task.how === 'recover'
          ? await recover(context, domain, task.epoch)
          : await adopt(context, domain, task.how);
      case 'publish':
        return await publish(context, domain, task);
      case 'release':
        return await release(context, domain, task);
      case 'diverge':
        return await diverge(context, domain, task.epoch);
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
  if (outcome.kind === 'committed') return { event: { kind: 'published', slot, digest: capture.digest } };
  return lostSlot(context, outcome.by);
}

async function release(
  context: AgentContext,
  { uuid }: DomainTask,
  { epoch, slot, reason }: Extract<ShareTask, { kind: 'release' }>,
): Promise<TaskOutcome> {
  const outcome = await context.share.closeEpoch({ uuid, kind: 'release', epoch, slot, reason });
  return outcome.kind === 'committed' ? { event: { kind: 'released' } } : lostSlot(context, outcome.by);
}

/** Somebody else's entry means fenced; our own, from a commit that was given up on, means that we must look again. */
function lostSlot({ config }: AgentContext, by: HostName | undefined): TaskOutcome {
  if (by !== undefined && by !== config.host) return { event: { kind: 'fenced', by } };
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

async function tidy(context: AgentContext, domain: DomainTask, epoch: number): Promise<TaskOutcome> {
  const { uuid, live } = domain;
  const keep = context.config.retention.generations;
  const result = await context.share.tidy({ uuid, epoch, keep, live });
  if (!result.needsCompaction) return { event: { kind: 'tidied' } };
  return held(await claim(context, domain, 'compact', 'own'), domain);
}

/** The way out of doubt: a claim competes for the slot of the commit in doubt and so settles it. */
async function recover(context: AgentContext, domain: DomainTask, epoch: Slot): Promise<TaskOutcome> {
  const outcome = await claim(context, domain, 'recover', 'own');
  // Our own release went through, or somebody else's claim: there is nothing left here that it could have cost.
  if (domain.over && outcome.kind !== 'claimed') return { event: { kind: 'released' } };
  if (outcome.kind === 'claimed') {
    // An operator gave it back to this host by force: that ends no branch which another host's claim has begun.
    const lost = epoch > 0 && !domain.over && claimOfAnother(outcome.log, context.config.host, epoch);
    if (lost) return { event: { kind: 'fenced', by: lost.host }, error: lostTo(domain.uuid, lost.host) };
  }
  if (outcome.kind !== 'free') return await judged(context, domain, outcome);
  if (!isUnmoved(outcome.log, domain.published) || hasRunElsewhere(outcome.log, context.config.host, epoch)) {
    return fencedBy(outcome.log);
  }
  const again = await claim(context, domain, 'recover', 'free', outcome.log.top);
  if (again.kind === 'moved') return { event: { kind: 'share-failed', inDoubt: true } };
  return await judged(context, domain, again);
}

/** A claim by which this host goes on with what a former run of this program left of the domain. */
async function judged(
  context: AgentContext,
  domain: DomainTask,
  outcome: ClaimOutcome,
): Promise<TaskOutcome> {
  if (!domain.recalled || outcome.kind !== 'claimed') return held(outcome, domain);
  try {
    return held(outcome, domain, await judgeLeftBehind(context, domain, outcome.epoch));
  } catch (error) {
    // The claim stands, and nothing may follow it: the next one judges anew.
    return { event: { kind: 'share-failed', inDoubt: true }, error: asMirrorError(error) };
  }
}

/**
 * For a domain that runs here without a claim of ours: the same plan as at a start decides whether its state may become the head. One
 * that has arrived by migration brought the newest state with it, so there only the holder matters.
 */
async function adopt(
  context: AgentContext,
  domain: DomainTask,
  how: 'adopt' | 'migration',
): Promise<TaskOutcome> {
  const situation = await gatherSituation(context, domain, false);
  const { share, holder, local } = situation.facts;
  // What a start may do without the share is another question: here the domain runs already.
  if (share !== 'verified') return asAway(situation);
  const decision = planRestore(situation.facts);
  if (isForeign(situation)) return unfit(context, situation, refusal('FOREIGN_TPM', situation));
  const came =
    how === 'migration' && holder !== 'other-alive' ? await cameDirectly(context, domain, situation) : 'no';
  const arrived = came === 'yes';
  // A source that has yet to release: asked again later.
  if (came === 'untold') return heldElsewhere(situation);
  if (decision.kind === 'refuse' && !arrived) {
    return how === 'migration' && decision.code === 'HELD_ELSEWHERE'
      ? heldElsewhere(situation)
      : unfit(context, situation, refusal(decision.code, situation));
  }
  // The times of files tell nothing where another host's state came in.
  const isJudged = how === 'adopt' || local.kind !== 'valid' || local.relation === 'same';
  const ours = isJudged && ['adopt-local', 'keep-local', 'start-new'].includes(decision.kind);
  if (!ours && !arrived) return unfit(context, situation, unrelated(domain));
  const expired = holder === 'other-expired';
  const onTopOf = situation.volume?.log.top ?? 0;
  const outcome = await claim(context, domain, how, expired ? 'expired' : 'free', onTopOf);
  // What was decided on that log holds no longer.
  if (outcome.kind === 'moved') return { event: { kind: 'share-failed', inDoubt: false } };
  if (outcome.kind === 'held') return heldElsewhere(situation);
  return await judged(context, domain, outcome);
}

function heldElsewhere(situation: Situation): TaskOutcome {
  return { event: { kind: 'share-failed', inDoubt: false }, error: refusal('HELD_ELSEWHERE', situation) };
}

function isForeign({ facts: { local, volume } }: Situation): boolean {
  return local.kind === 'valid' && volume.kind === 'whole' && isOtherTpm(local.identity, volume.identity);
}

function asAway({ shareError }: Situation): TaskOutcome {
  return { event: { kind: 'share-failed', inDoubt: false }, ...(shareError && { error: shareError }) };
}

/** What runs here must not become the head. */
function unfit({ config }: AgentContext, { volume }: Situation, error: MirrorError): TaskOutcome {
  return { event: { kind: 'fenced', by: volume?.log.lastClaim?.host ?? config.host }, error };
}

function unrelated({ uuid }: DomainTask): MirrorError {
  return new MirrorError(
    'STATE_BEHIND',
    `${uuid} runs here, but was not started from the head of its volume`,
    {
      next: 'its state is kept as a diverged copy; stop the domain and start it again with the hook installed to use the head',
    },
  );
}

async function claim(
  context: AgentContext,
  { uuid }: DomainTask,
  reason: ClaimReason,
  scope: ClaimScope,
  onTopOf?: Slot,
): Promise<ClaimOutcome> {
  const { hostExpiryMs } = context.config.timing;
  const shareId = await context.knownShare.read();
  return await context.share.claim({ uuid, reason, scope, hostExpiryMs, revive: false, shareId, onTopOf });
}

function held(outcome: ClaimOutcome, { uuid }: DomainTask, left?: LeftBehind): TaskOutcome {
  if (outcome.kind === 'claimed') {
    const { head } = outcome.log;
    const published = head && { slot: head.slot, digest: head.digestPrefix };
    const history = outcome.log.published.map(({ generation }) => generation.digestPrefix);
    const { epoch } = outcome;
    const event = { kind: 'acquired', epoch, published, history, outdated: left?.outdated } as const;
    return { event, identity: left?.identity, takenOver: takeOverIn(outcome.log) };
  }
  if (outcome.kind === 'held') {
    return { event: { kind: 'fenced', by: outcome.holder.host }, error: lostTo(uuid, outcome.holder.host) };
  }
  return fencedBy(outcome.log);
}

function fencedBy(log: VolumeLog): TaskOutcome {
  return { event: { kind: 'fenced', by: log.lastClaim?.host ?? 'unknown' } };
}

export function lostTo(uuid: DomainUuid, by: string): MirrorError {
  return new MirrorError(
    'FENCED',
    `host ${by} holds the volume of ${uuid} now; what this host captures is kept as a diverged copy`,
    {
      next: `make sure that the domain runs on one host only; see the copies with \`swtpm-mirror history --all ${uuid}\``,
    },
  );
}

/**
 * Whether another host has had the domain since this one claimed: it may have gone on to a third host without a publish. One whose start failed never
 * had it.
 *
 * @param epoch this host's claim; 0 for none
 */
function hasRunElsewhere(log: VolumeLog, host: HostName, epoch: Slot): boolean {
  const neverRan = new Set(
    log.entries.flatMap((entry) =>
      entry.kind === 'release' && entry.reason === START_FAILED ? [entry.epoch] : [],
    ),
  );
  const isRun = (entry: LogEntry): boolean =>
    entry.kind === 'claim' && entry.slot > epoch && entry.host !== host && !neverRan.has(entry.slot);
  return epoch > 0 && log.entries.some(isRun);
}

/** Whether nothing was published since this host last knew the head. */
function isUnmoved(log: VolumeLog, published: PublishedState | undefined): boolean {
  return (log.head?.slot ?? 0) === (published?.slot ?? 0);
}
