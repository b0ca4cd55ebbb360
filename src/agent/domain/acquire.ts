/**
 * acquire: how a domain that runs here, or has, comes to a claim on its volume: again (`recover`), or for the first time (`adopt`). What may follow the
 * head is judged before anything is published under it.
 *
 * I1 (G3, G4) A claim of this host ends no branch that another host's claim has begun, whoever made it: an operator by force, or a start that failed.
 * I2 A claim in doubt is settled by an entry in its slot: a claim where the volume looks free, whatever its holder writes next where it is held. Until then it
 *    may yet take place, and nobody would give it back.
 */
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { GenerationName, Slot } from '../../model/generation-name.js';
import { isOwn, type Self } from '../../model/host-identity.js';
import type { DomainUuid, HostName } from '../../model/identifiers.js';
import type { PublishedState, ShareTask } from '../../model/lifecycle-state.js';
import { START_FAILED, type ClaimReason, type LogEntry } from '../../model/log-entry.js';
import { isOtherTpm, planRestore } from '../../model/restore-plan.js';
import { runClaimOf } from '../../model/run-claim.js';
import { takeOverIn } from '../../model/take-over.js';
import { claimOfAnother, type VolumeLog } from '../../model/volume-log.js';
import type { ClaimOutcome, ClaimScope } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import { verdictOn } from './arrived-by-migration.js';
import { judgeLeftBehind, type LeftBehind } from './left-behind.js';
import { claimUnderWay, lostTo, refusal } from '../start/refusal.js';
import type { DomainTask, TaskOutcome } from './domain-task.js';
import { gatherSituation, headParts, type Situation } from '../start/situation.js';

type RecoverTask = Extract<ShareTask, { how: 'recover' }>;

/** The way out of doubt: a claim competes for the slot of the commit in doubt and so settles it. */
export async function recover(
  context: AgentContext,
  domain: DomainTask,
  { epoch, claiming, logTop }: RecoverTask,
): Promise<TaskOutcome> {
  const { identity } = context;
  const outcome = await claim(context, domain, 'recover', 'own');
  if (outcome.kind === 'claimed') {
    const other = claimOfAnother(outcome.log, identity, epoch);
    if (other && !domain.over) return fencedAllTheSame(domain, other.host);
    const { head } = outcome.log;
    if (head && isAhead(head, domain, epoch)) return fencedAllTheSame(domain, head.host);
    return settling(await judged(context, domain, outcome), other !== undefined);
  }
  if (domain.over && claiming) {
    if (isSettled(outcome.log, logTop)) return { event: { kind: 'released' } };
    if (outcome.kind !== 'free') return inDoubt(domain.uuid, outcome.log, logTop);
  }
  // Our own release went through, or somebody else's claim: there is nothing left here that it could have cost.
  if (domain.over && (outcome.kind !== 'free' || !claiming)) return { event: { kind: 'released' } };
  if (outcome.kind !== 'free') return held(outcome, domain);
  const isLost = !isUnmoved(outcome.log, domain.published) || hasRunElsewhere(outcome.log, identity, epoch);
  if (isLost && !domain.over) return fencedBy(outcome.log);
  const again = await claim(context, domain, 'recover', 'free', outcome.log.top);
  if (again.kind === 'moved') return { event: { kind: 'share-failed', inDoubt: true } };
  if (domain.over && again.kind !== 'claimed') return { event: { kind: 'released' } };
  return settling(await judged(context, domain, again), isLost);
}

/**
 * Whether the head is one that this run never had, under a claim that it never made: a copy of this
 * machine went on under its identity. What a former run of this program left is judged instead.
 */
function isAhead(head: GenerationName, { recalled, over, published }: DomainTask, epoch: Slot): boolean {
  return !recalled && !over && head.slot !== published?.slot && head.epoch !== epoch;
}

/** @param isLost what lies here is older than what another host has stored since */
function settling(outcome: TaskOutcome, isLost: boolean): TaskOutcome {
  const { event } = outcome;
  return isLost && event.kind === 'acquired'
    ? { ...outcome, event: { ...event, onlySettles: true } }
    : outcome;
}

/**
 * Whether a claim in doubt can take place no more.
 *
 * @param seenTop where the log ended when it was first read after the doubt
 */
export function isSettled({ top }: VolumeLog, seenTop: Slot | undefined): boolean {
  return seenTop !== undefined && top > seenTop;
}

/** A claim in doubt in a volume that another host holds, or that is a tombstone: to be looked at again. */
export function inDoubt(uuid: DomainUuid, { top }: VolumeLog, seenTop: Slot | undefined): TaskOutcome {
  return {
    event: { kind: 'share-failed', inDoubt: true, logTop: seenTop ?? top },
    error: claimUnderWay(uuid),
  };
}

/** The claim stands, and counts for nothing but that nobody else can start the domain. */
function fencedAllTheSame({ uuid }: DomainTask, by: HostName): TaskOutcome {
  return { event: { kind: 'fenced', by, claimed: true }, error: lostTo(uuid, by) };
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
export async function adopt(
  context: AgentContext,
  domain: DomainTask,
  how: 'adopt' | 'migration',
): Promise<TaskOutcome> {
  const situation = await gatherSituation(context, domain);
  const { share, holder } = situation.facts;
  // What a start may do without the share is another question: here the domain runs already.
  if (share !== 'verified') return asAway(situation);
  const decision = planRestore(situation.facts);
  if (isForeign(situation)) return unfit(context, situation, refusal('FOREIGN_TPM', situation));
  const verdict = how === 'migration' ? verdictOn(context, domain, situation) : undefined;
  // A source that has yet to release: asked again later.
  if (verdict === 'waiting') return heldElsewhere(situation);
  if (verdict === 'unproved' && !isOfTheHead(situation)) return unfit(context, situation, unproved(domain));
  if (verdict !== 'proved') {
    if (decision.kind === 'refuse') return unfit(context, situation, refusal(decision.code, situation));
    const isOurs = ['adopt-local', 'keep-local', 'start-new'].includes(decision.kind);
    if (!isOurs) return unfit(context, situation, unrelated(domain));
  }
  const expired = holder === 'other-expired';
  const onTopOf = situation.volume?.log.top ?? 0;
  const outcome = await claim(context, domain, how, expired ? 'expired' : 'free', onTopOf);
  // What was decided on that log holds no longer.
  if (outcome.kind === 'moved') return { event: { kind: 'share-failed', inDoubt: false } };
  if (outcome.kind === 'held') return heldElsewhere(situation);
  const acquired = await judged(context, domain, outcome);
  return { ...acquired, parts: acquired.parts ?? headParts(situation) };
}

/** Whether it goes on from the very content that the head has. The times of files tell nothing where another host's state came in. */
function isOfTheHead({ facts: { local, volume } }: Situation): boolean {
  return volume.kind === 'whole' && local.kind === 'valid' && local.relation === 'same';
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
  const by = volume?.log.lastClaim?.host ?? config.host;
  return { event: { kind: 'fenced', by, ...(volume?.holder?.self && { claimed: true }) }, error };
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

function unproved({ uuid, arrival }: DomainTask): MirrorError {
  const why = arrival?.claim
    ? `it ran under claim ${String(arrival.claim.epoch)} of ${arrival.claim.host}, which is not the volume's last`
    : 'nothing that came with it says under which claim it ran';
  return new MirrorError(
    'ARRIVAL_UNPROVED',
    `${uuid} came here by migration, and that it has its volume's newest state is not proved: ${why}`,
    {
      next: `its state is kept as a diverged copy; see \`swtpm-mirror history --all ${uuid}\`, and when the domain is shut off choose with \`swtpm-mirror resolve ${uuid} --keep diverged\` (what it has written here) or \`--keep head\``,
    },
  );
}

export async function claim(
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

export function held(outcome: ClaimOutcome, { uuid }: DomainTask, left?: LeftBehind): TaskOutcome {
  if (outcome.kind === 'claimed') {
    const { head } = outcome.log;
    const published = head && { slot: head.slot, digest: head.digestPrefix };
    const history = outcome.log.published.map(({ generation }) => generation.digestPrefix);
    const { epoch } = outcome;
    const event = { kind: 'acquired', epoch, published, history, outdated: left?.outdated } as const;
    const { lastClaim } = outcome.log;
    return {
      event,
      identity: left?.identity,
      parts: left?.parts,
      takenOver: takeOverIn(outcome.log),
      claim: lastClaim && runClaimOf(lastClaim),
    };
  }
  if (outcome.kind === 'held') {
    return { event: { kind: 'fenced', by: outcome.holder.host }, error: lostTo(uuid, outcome.holder.host) };
  }
  return fencedBy(outcome.log);
}

function fencedBy(log: VolumeLog): TaskOutcome {
  return { event: { kind: 'fenced', by: log.lastClaim?.host ?? 'unknown' } };
}

/**
 * Whether another host has had the domain since this one claimed: it may have gone on to a third host without a publish. One whose start failed never
 * had it.
 *
 * @param epoch this host's claim; 0 for none
 */
function hasRunElsewhere(log: VolumeLog, self: Self, epoch: Slot): boolean {
  const neverRan = new Set(
    log.entries.flatMap((entry) =>
      entry.kind === 'release' && entry.reason === START_FAILED ? [entry.epoch] : [],
    ),
  );
  const isRun = (entry: LogEntry): boolean =>
    entry.kind === 'claim' && entry.slot > epoch && !isOwn(entry, self) && !neverRan.has(entry.slot);
  return epoch > 0 && log.entries.some(isRun);
}

/** Whether nothing was published since this host last knew the head. */
function isUnmoved(log: VolumeLog, published: PublishedState | undefined): boolean {
  return (log.head?.slot ?? 0) === (published?.slot ?? 0);
}
