/**
 * prepare: everything between "this domain is about to start" and "its swtpm may start now".
 *
 *   P1 gather the situation, plan          a refusal ends here; nothing has been touched
 *   P2 claim the volume                    lost or changed meanwhile: back to P1
 *   P3 publish or keep what is ahead       local state that is newer becomes the head; what lost becomes a diverged copy
 *   P4 restore                             the state directory holds the head
 *   P5 look who holds the volume           only where all that took so long that this host may count as dead; lost: back to P1
 *
 * I1 No file of the domain is touched before the volume is held (P2 before P4), but by the policy for a share that is away; and where a start that
 *    was announced as a migration may be an ordinary one, by a copy of the head.
 * I2 A crash anywhere leaves what the next prepare decides anew; nothing before it is undone.
 */
import type { Arrival } from '../../host/journal-record.js';
import { sleep } from '../../model/environment.js';
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import { isOwn } from '../../model/host-identity.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { runClaimOf } from '../../model/run-claim.js';
import { takeOverIn } from '../../model/take-over.js';
import { mustFinishFirst, planRestore, type RestoreDecision } from '../../model/restore-plan.js';
import type { ClaimOutcome } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import { instant, mayCountAsDead, silentMs } from '../share/silence.js';
import { claimStands } from '../share/volume-look.js';
import { HeldStart, type StartAttempt } from './held-start.js';
import { prepared, type Prepared, type PrepareRequest } from './prepared.js';
import { refusal, stillFinishing } from './refusal.js';
import { gatherSituation, type Situation } from './situation.js';
import { StartDeadline } from './start-deadline.js';
import { prepareWithoutShare } from './start-without-share.js';

/** What the domain's replicator does for its preparation, and learns from it. */
export interface PreparingDomain {
  /** Lets what a former run left reach the share: one try, of `patienceMs` at most. @returns whether nothing of it is left */
  finishLastRun(patienceMs: number): Promise<boolean>;
  /** The start waits, and this is why. */
  waiting(error: MirrorError): void;
  /** A claim is about to be made. Resolves when a crash cannot make anybody forget that. */
  claiming(): Promise<void>;
  /** The volume is this host's under this claim, or may be: a start that fails from here on has to give it back. */
  claimed(epoch: Slot | 'unknown'): void;
}

/** Between two looks at a holder that may expire, or at a share that may come back. */
const LOOK_AGAIN_MS = 250;
/** Beyond the expiry, so that the look that finds it over is still within the deadline. */
const WATCH_SPARE_MS = 2_000;

/**
 * @throws MirrorError the refusal, or what kept the start from being decided within `timing.start_deadline`
 */
export async function prepareDomain(
  context: AgentContext,
  request: PrepareRequest,
  domain: PreparingDomain,
): Promise<Prepared> {
  const deadline = new StartDeadline(context, request.uuid);
  let lastAgeMs: number | undefined;
  for (;;) {
    const isFinished = await domain.finishLastRun(deadline.leftMs);
    const gathering = gatherSituation(context, request, request);
    const situation = await deadline.within(gathering);
    const decision = planRestore(situation.facts);
    const isWatched = situation.volume?.holder?.isWatched === true && mayPass(context, situation);
    if (isWatched) deadline.extend(watchMs(context));
    const late = deadline.leftMs < LOOK_AGAIN_MS;
    if (!isFinished && mustFinishFirst(decision, situation.facts)) {
      if (late) throw stillFinishing(request.uuid);
    } else if (decision.kind !== 'refuse') {
      const attempt = { context, request, situation, deadline, domain };
      const prepared = await carryOut(attempt, decision).catch((error: unknown) => {
        waitForDouble(attempt, error);
        return undefined;
      });
      if (prepared) return prepared;
      if (late) throw unsettled(request.uuid);
    } else {
      const error = refusal(decision.code, situation, waitOf(context, situation, request.name));
      const ageMs = situation.volume?.holder?.heartbeatAgeMs;
      // A heartbeat that got younger between two looks is a host that lives: waiting longer would change nothing.
      const livesOn = ageMs !== undefined && lastAgeMs !== undefined && ageMs < lastAgeMs;
      lastAgeMs = ageMs;
      if (late || livesOn || !mayWait(context, situation)) throw error;
      domain.waiting(error);
      deadline.because(error);
    }
    await sleep(context.clock, LOOK_AGAIN_MS);
  }
}

/** For as long as it takes to see whether another host lives, where no clock tells. */
function watchMs({ config }: AgentContext): number {
  return config.timing.hostExpiryMs + WATCH_SPARE_MS;
}

/** Who may be this host's own past is known to be gone soon. @throws what is anything else */
function waitForDouble({ context, deadline, domain }: Start, error: unknown): void {
  const cause = asMirrorError(error);
  if (cause.code !== 'HOST_DOUBLED' || !cause.retriable) throw error;
  deadline.extend(watchMs(context));
  if (deadline.leftMs < LOOK_AGAIN_MS) throw error;
  domain.waiting(cause);
  deadline.because(cause);
}

/** Whether the start waits for what keeps it from being allowed. */
function mayWait(context: AgentContext, situation: Situation): boolean {
  const isAtOnce = situation.facts.holder === 'other-alive' && context.config.start.wait === 'refuse-at-once';
  return !isAtOnce && mayPass(context, situation);
}

/** What a refusal says of a holder that may expire, and of the domain that is about to start. */
function waitOf(
  { config }: AgentContext,
  { volume }: Situation,
  name: string,
): { name: string; leftMs: number | undefined } {
  const ageMs = volume?.holder?.heartbeatAgeMs;
  const mayExpire = volume?.holder?.alive === true && config.start.takeOver === 'expired';
  const leftMs = mayExpire && ageMs !== undefined ? config.timing.hostExpiryMs - ageMs : undefined;
  return { name, leftMs };
}

function unsettled(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'TAKE_OVER_LOST',
    `the volume of ${uuid} kept changing while this host prepared the start`,
    {
      next: 'see with `swtpm-mirror history --all` which other host starts the domain; then try again',
      retriable: true,
    },
  );
}

/** Whether time alone can turn a refusal: a share that comes back, or a holder that expires. */
function mayPass({ config }: AgentContext, { facts }: Situation): boolean {
  if (facts.share !== 'verified') return facts.share === 'unreachable';
  return facts.holder === 'other-alive' && config.start.takeOver === 'expired';
}

interface Start extends StartAttempt {
  readonly domain: PreparingDomain;
}

/** @returns `undefined` when the situation changed meanwhile and must be judged anew */
async function carryOut(
  attempt: Start,
  decision: Exclude<RestoreDecision, { kind: 'refuse' }>,
): Promise<Prepared | undefined> {
  const { context, request, situation } = attempt;
  const arrival = request.incoming ? announced(context, request, situation) : undefined;
  if (decision.kind === 'wait-incoming') {
    const headPlaced = decision.headFirst === true && (await placeHead(context, request, situation));
    return { ...prepared(situation, decision, { kind: 'none' }, undefined), arrival, headPlaced };
  }
  if (decision.kind === 'keep-unverified' || decision.kind === 'restore-spooled') {
    const start = await prepareWithoutShare(context, request, situation, decision);
    return { ...start, arrival };
  }
  const begun = instant(context.clock);
  const claimed = await claimFor(attempt);
  if (!claimed) return undefined;
  const start = await new HeldStart(attempt, claimed.epoch).run(decision);
  if (mayCountAsDead(context, silentMs(context, begun)) && !(await isStillHeld(attempt, start))) {
    return undefined;
  }
  const { lastClaim } = claimed.log;
  const claim = lastClaim && runClaimOf(lastClaim);
  return { ...start, takenOver: takeOverIn(claimed.log), arrival, claim };
}

/** Whether nobody has taken the volume over while the start took its time. */
async function isStillHeld({ context, request, deadline }: Start, { hold }: Prepared): Promise<boolean> {
  return hold.kind !== 'held' || (await deadline.within(claimStands(context, request.uuid, hold)));
}

/** Where a domain comes from, if it comes: what is known before it does. */
function announced(
  { identity }: AgentContext,
  { runClaim }: PrepareRequest,
  { volume, facts }: Situation,
): Arrival {
  const holder = volume?.holder;
  const source = holder && !isOwn(holder, identity) ? holder : undefined;
  return {
    source: source ? { slot: source.epoch, host: source.host } : null,
    logTop: facts.share === 'verified' ? (volume?.log.top ?? 0) : null,
    claim: runClaim ?? null,
  };
}

/**
 * It is the newest state that anybody knows of; a migration that comes after all brings its own, and
 * overwrites this copy. @returns whether it was put in place
 */
async function placeHead(
  { files, config }: AgentContext,
  request: PrepareRequest,
  { volume }: Situation,
): Promise<boolean> {
  if (volume?.head.kind !== 'whole' || config.placement === 'direct') return false;
  await files.takeLinksAway(request.uuid);
  await files.restore({ ...request, live: undefined }, volume.head.generation.capture);
  return true;
}

/** @returns `undefined` when the volume is not what the plan was made for */
async function claimFor({
  context,
  situation,
  deadline,
  domain,
}: Start): Promise<Extract<ClaimOutcome, { kind: 'claimed' }> | undefined> {
  const { timing, start } = context.config;
  const expired = situation.facts.holder === 'other-expired';
  await domain.claiming();
  const claiming = context.share.claim({
    uuid: situation.uuid,
    reason: expired ? 'take-over' : 'start',
    scope: expired && start.takeOver === 'expired' ? 'expired' : 'free',
    hostExpiryMs: timing.hostExpiryMs,
    revive: false,
    shareId: situation.shareId,
  });
  const outcome = await deadline.within(claiming).catch((error: unknown) => {
    if (asMirrorError(error).code === 'OUTCOME_UNKNOWN' || deadline.isOver) {
      domain.claimed('unknown');
    }
    throw error;
  });
  if (outcome.kind !== 'claimed') return undefined;
  domain.claimed(outcome.epoch);
  const seen = situation.volume?.log;
  const unchanged =
    outcome.log.head?.slot === seen?.head?.slot && outcome.from?.epoch === seen?.holder?.epoch;
  return unchanged ? outcome : undefined;
}
