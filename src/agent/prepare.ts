/**
 * prepare: everything between "this domain is about to start" and "its swtpm may start now".
 *
 *   P1 gather the situation, plan          a refusal ends here; nothing has been touched
 *   P2 claim the volume                    lost or changed meanwhile: back to P1
 *   P3 publish or keep what is ahead       local state that is newer becomes the head; what lost becomes a diverged copy
 *   P4 restore                             the state directory holds the head
 *
 * I1 No file of the domain is touched before the volume is held (P2 before P4), but by the policy for a share that is away.
 * I2 A crash anywhere leaves what the next prepare decides anew; nothing before it is undone.
 */
import type { Slot } from '../model/generation-name.js';
import { sleep } from '../model/environment.js';
import { compareStateFiles, type Capture } from '../model/capture.js';
import { asMirrorError, invariant, MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { Hold, Pending, PublishedState } from '../model/lifecycle.js';
import type { ClaimEntry } from '../model/log-entry.js';
import { planRestore, type RestoreDecision } from '../model/restore-plan.js';
import type { ClaimOutcome, PublishNote } from '../volume/share-store.js';
import type { AgentContext } from './agent-context.js';
import type { DomainPlace } from './domain-place.js';
import { publishNote, spoolManifest } from './publish-note.js';
import { refusal, stillFinishing } from './refusal.js';
import { gatherSituation, type Situation } from './situation.js';
import { StartDeadline } from './start-deadline.js';

export interface PrepareRequest extends DomainPlace {
  readonly name: string;
  readonly incoming: boolean;
}

export interface Prepared {
  readonly decision: RestoreDecision['kind'];
  readonly hold: Hold;
  readonly published: PublishedState | undefined;
  /** A capture that is durable in the spool, still to be published. */
  readonly pending:
    { readonly capture: Capture; readonly state: Pending; readonly spooledAs: string } | undefined;
  /** Identity of the TPM that the domain starts with, when it is known. */
  readonly identity: string | undefined;
  readonly shareId: string | undefined;
  /** Of an incoming domain: the volume's last claim, its source's. */
  readonly source?: ClaimEntry | undefined;
}

/** What the domain's replicator does for its preparation, and learns from it. */
export interface PreparingDomain {
  /** Lets what a former run left reach the share: one try, of `patienceMs` at most. @returns whether nothing of it is left */
  finishLastRun(patienceMs: number): Promise<boolean>;
  /** The start waits, and this is why. */
  waiting(error: MirrorError): void;
  /** A claim is about to be made. Resolves when a crash cannot make anybody forget that. */
  claiming(): Promise<void>;
  /** The volume is this host's under this claim, or may be: a start that fails from here on has to give it back. */
  claimed(epoch: Slot): void;
}

/** Between two looks at a holder that may expire, or at a share that may come back. */
const LOOK_AGAIN_MS = 250;

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
    const situation = await deadline.within(gatherSituation(context, request, request.incoming));
    const decision = planRestore(situation.facts);
    const late = deadline.leftMs < LOOK_AGAIN_MS;
    if (decision.kind === 'wait-incoming' && !isFinished) {
      // Its claim is still to be given back, and an incoming domain has none: the volume would stay held for ever.
      if (late) throw stillFinishing(request.uuid);
    } else if (decision.kind !== 'refuse') {
      const prepared = await carryOut({ context, request, situation, deadline, domain }, decision);
      if (prepared) return prepared;
      if (late) throw unsettled(request.uuid);
    } else {
      const error = refusal(decision.code, situation);
      const ageMs = situation.volume?.holder?.heartbeatAgeMs;
      // A heartbeat that got younger between two looks is a host that lives: waiting longer would change nothing.
      const livesOn = ageMs !== undefined && lastAgeMs !== undefined && ageMs < lastAgeMs;
      lastAgeMs = ageMs;
      if (late || livesOn || !mayPass(context, situation)) throw error;
      domain.waiting(error);
      deadline.because(error);
    }
    await sleep(context.clock, LOOK_AGAIN_MS);
  }
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

/** One look, and what is needed to act on it. */
interface Start {
  readonly context: AgentContext;
  readonly request: PrepareRequest;
  readonly situation: Situation;
  readonly deadline: StartDeadline;
  readonly domain: PreparingDomain;
}

/** @returns `undefined` when the situation changed meanwhile and must be judged anew */
async function carryOut(
  start: Start,
  decision: Exclude<RestoreDecision, { kind: 'refuse' }>,
): Promise<Prepared | undefined> {
  const { context, request, situation } = start;
  if (decision.kind === 'wait-incoming') {
    const { volume } = situation;
    return { ...prepared(situation, decision, { kind: 'none' }, undefined), source: volume?.log.lastClaim };
  }
  if (decision.kind === 'keep-unverified' || decision.kind === 'restore-spooled') {
    return await prepareWithoutShare(context, request, situation, decision);
  }
  const claimed = await claimFor(start);
  if (!claimed) return undefined;
  return await new Preparation(start, claimed.epoch).run(decision);
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
      domain.claimed(situation.record?.epoch ?? 0);
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

async function prepareWithoutShare(
  context: AgentContext,
  place: DomainPlace,
  situation: Situation,
  decision: Extract<RestoreDecision, { kind: 'keep-unverified' | 'restore-spooled' }>,
): Promise<Prepared> {
  const { uuid, record } = situation;
  const spooled = (await context.spool.peek(uuid)).newest;
  if (decision.kind === 'restore-spooled') {
    invariant(spooled !== undefined, 'a spooled capture is there when the plan restores it');
    await context.files.restore(place, spooled.capture);
  }
  const hold: Hold = record?.holding
    ? { kind: 'doubt', epoch: record.epoch }
    : { kind: 'wanted', how: 'adopt' };
  const pending = spooled && inSpool(spooled.capture, spooled.name);
  return { ...prepared(situation, decision, hold, knownPublished(situation)), pending };
}

function inSpool(capture: Capture, spooledAs: string): Prepared['pending'] {
  return { capture, state: { digest: capture.digest, spooled: true }, spooledAs };
}

function knownPublished({ record }: Situation): PublishedState | undefined {
  return record?.digest ? { slot: record.slot, digest: record.digest } : undefined;
}

function prepared(
  { shareId, record }: Situation,
  { kind }: RestoreDecision,
  hold: Hold,
  published: PublishedState | undefined,
): Prepared {
  const identity = record?.identity ?? undefined;
  return {
    decision: kind,
    hold,
    published,
    pending: undefined,
    identity,
    shareId: shareId ?? record?.shareId ?? undefined,
  };
}

type HeldDecision = Exclude<
  RestoreDecision['kind'],
  'refuse' | 'wait-incoming' | 'keep-unverified' | 'restore-spooled'
>;

/** P3 and P4 of one held volume. */
class Preparation {
  readonly #context: AgentContext;
  readonly #request: PrepareRequest;
  readonly #situation: Situation;
  readonly #deadline: StartDeadline;
  readonly #epoch: Slot;

  constructor({ context, request, situation, deadline }: Start, epoch: Slot) {
    this.#context = context;
    this.#request = request;
    this.#situation = situation;
    this.#deadline = deadline;
    this.#epoch = epoch;
  }

  async run({ kind }: { readonly kind: HeldDecision }): Promise<Prepared> {
    switch (kind) {
      case 'start-new':
        await this.#context.files.removeEmpty(this.#request);
        return this.#held(kind, undefined, undefined);
      case 'adopt-local':
        return await this.#publishLocal(kind, 'adopt');
      case 'keep-local':
        return await this.#keepLocal(kind);
      case 'keep-diverged-restore-head':
        await this.#keepDiverged();
        return await this.#restore(kind, false);
      case 'restore-head':
        return await this.#restore(kind, false);
      case 'restore-previous':
        // The damaged head stands until a whole one follows it, so what was restored counts as not published.
        return { ...(await this.#restore(kind, true)), published: undefined };
    }
  }

  #local(): Capture {
    const { local } = this.#situation;
    invariant(local !== undefined, 'local state is there when the plan keeps it');
    return local;
  }

  #head(): PublishedState | undefined {
    const head = this.#situation.volume?.head;
    return head?.kind === 'whole'
      ? { slot: head.generation.name.slot, digest: head.generation.capture.digest }
      : undefined;
  }

  async #keepLocal(kind: HeldDecision): Promise<Prepared> {
    const local = this.#local();
    if (this.#situation.nvramMissing) await this.#context.files.restore(this.#request, local);
    return this.#isInHead(local)
      ? this.#held(kind, this.#head(), local.identity)
      : await this.#publishLocal(kind, 'recover');
  }

  /** Whether the head has every file of the capture as it is. */
  #isInHead({ files }: Capture): boolean {
    const head = this.#situation.volume?.head;
    const stored = head?.kind === 'whole' ? head.generation.capture.files : [];
    return files.every((file) =>
      stored.some((other) => compareStateFiles(file, other) === 0 && file.sha256 === other.sha256),
    );
  }

  #note(reason: PublishNote['reason']): PublishNote {
    return publishNote(this.#context, this.#request.name, reason);
  }

  async #publishLocal(kind: HeldDecision, reason: PublishNote['reason']): Promise<Prepared> {
    const { share, spool, log } = this.#context;
    const capture = this.#local();
    const parent = this.#situation.volume?.log.head?.slot ?? 0;
    const slot = this.#epoch + 1;
    const note = this.#note(reason);
    const { uuid } = this.#request;
    try {
      const outcome = await this.#deadline.within(
        share.publish({ uuid, epoch: this.#epoch, slot, parent, capture, note }),
      );
      if (outcome.kind === 'committed') {
        const published = { slot, digest: capture.digest };
        return {
          ...this.#held(kind, published, capture.identity),
          hold: { kind: 'held', epoch: this.#epoch, next: slot + 1 },
        };
      }
      throw new MirrorError(
        'HELD_ELSEWHERE',
        `host ${outcome.by ?? '?'} claimed ${uuid} while this host prepared it`,
        {
          next: 'see with `swtpm-mirror history --all` who holds it now',
        },
      );
    } catch (error) {
      const cause = asMirrorError(error);
      if (!cause.retriable && cause.code !== 'SHARE_FULL') throw error;
      // The share took the claim but not the state: it starts from the spool, and is published as soon as the share can take it.
      log.warn(
        { uuid, code: cause.code },
        'cannot publish the local state before the start; it is kept in the spool',
      );
      const spooledAs = await spool.put(spoolManifest(this.#context, capture, note, this.#epoch), capture);
      const hold: Hold = { kind: 'doubt', epoch: this.#epoch };
      return {
        ...this.#held(kind, this.#head(), capture.identity),
        hold,
        pending: inSpool(capture, spooledAs),
      };
    }
  }

  async #keepDiverged(): Promise<void> {
    const { share } = this.#context;
    const capture = this.#local();
    const { uuid } = this.#request;
    // Under the claim that it was written under: a later copy of one epoch replaces the earlier ones of that epoch.
    const epoch = this.#situation.record?.epoch ?? 0;
    const call = { uuid, epoch, slot: this.#epoch + 1, capture, note: this.#note('diverged') };
    await this.#deadline.within(share.diverge(call));
  }

  async #restore(kind: HeldDecision, fallBack: boolean): Promise<Prepared> {
    const { files, share } = this.#context;
    const head = this.#situation.volume?.head;
    const generation =
      head?.kind === 'whole' && !fallBack
        ? head.generation
        : (await this.#deadline.within(share.fetch({ uuid: this.#request.uuid, slot: 'head', fallBack })))
            .generation;
    await files.restore(this.#request, generation.capture);
    const { digest, identity } = generation.capture;
    return this.#held(kind, { slot: generation.name.slot, digest }, identity);
  }

  #held(kind: HeldDecision, published: PublishedState | undefined, identity: string | undefined): Prepared {
    const hold: Hold = { kind: 'held', epoch: this.#epoch, next: this.#epoch + 1 };
    return { ...prepared(this.#situation, { kind }, hold, published), identity };
  }
}
