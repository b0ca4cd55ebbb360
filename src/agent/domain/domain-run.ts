/**
 * domain-run: one domain's state machine at work. Every event goes through the pure `model/lifecycle.ts`; after each one the journal follows, and the tasks
 * that the new state wants are begun, at most one a lane. Nothing here decides, and nobody is answered here: that is the replicator.
 *
 * I1 A capture that the lifecycle calls pending is kept in memory here until the lifecycle lets go of it.
 * I2 What a new state wants begun stands as begun before any of it runs: what a task does at once leads back here.
 */
import type { Arrival } from '../../host/journal-record.js';
import { asMirrorError, type MirrorError, type ErrorCode } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { mayBeWhole, stateFaultOf } from '../../model/state-fault.js';
import { step } from '../../model/lifecycle.js';
import {
  STOPPED,
  type Lifecycle,
  type LifecycleEvent,
  type LocalTask,
  type ShareTask,
} from '../../model/lifecycle-state.js';
import { attentionOf, wantsReread } from '../../model/lifecycle-standing.js';
import { begin, nextTasks } from '../../model/lifecycle-tasks.js';
import type { Capture, StateFile } from '../../model/capture.js';
import {
  advancePoint,
  behindBy,
  behindSince,
  NOTHING_BEHIND,
  recalledPoint,
  type BehindReason,
} from '../../model/recovery-point.js';
import { isOtherTpm } from '../../model/restore-plan.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { TakeOver } from '../../model/take-over.js';
import type { AgentContext } from '../agent-context.js';
import { AttentionList } from '../attention.js';
import { Backoff } from '../backoff.js';
import { DivergedCopies } from './diverged-copies.js';
import { domainPlace, type DomainPlace } from '../domain-place.js';
import { DomainParts, type PartStatus } from './domain-parts.js';
import { DomainRecord } from './domain-record.js';
import type { TaskOutcome } from './domain-task.js';
import { Pace } from './pace.js';
import { PendingCapture } from './pending-capture.js';
import { wasLeftByFormerBoot } from '../start/local-facts.js';
import type { Prepared } from '../start/prepared.js';
import { recalledRun } from './recalled-run.js';
import { anotherTpm, nothingLeft, notStored } from '../start/refusal.js';
import { standingError, STANDING_TOPIC } from './standing.js';
import { Reread } from './reread.js';
import { isIdle, isSettled, Waiters, type Condition } from './settling.js';
import { ShareLane } from './share-lane.js';

/** What lies there can be copied as it is, though no capture can be made of it. */
const UNSTORABLE: ReadonlySet<ErrorCode> = new Set(['STATE_INVALID', 'STATE_NOT_UNDERSTOOD']);

/** Of the reason that the journal keeps. */
const WHY_CHARACTERS_MAX = 200;

export class DomainRun {
  readonly uuid: DomainUuid;
  readonly attention = new AttentionList();
  readonly record: DomainRecord;
  readonly #context: AgentContext;
  /** The capture behind the lifecycle's `pending`. */
  readonly #pending: PendingCapture;
  readonly #shareLane: ShareLane;
  /** Before files are read again that could not be read. */
  readonly #captureBackoff: Backoff;
  readonly #waiters: Waiters;
  readonly #reread: Reread;
  readonly #parts: DomainParts;
  readonly #pace: Pace;
  #state: Lifecycle = STOPPED;
  #point = NOTHING_BEHIND;
  #isRereading = false;
  #identity: string | undefined;
  /** When the domain was last said to have come here, ms by the monotonic clock. */
  #arrivedAtMs: number;
  /** The claim of the lifecycle's hold, as the log has it. */
  #claim: RunClaim | undefined;
  /** What this host holds was claimed by a former run of this program. */
  #recalled = false;
  #diverged = new DivergedCopies();
  #closed = false;
  #paused = false;

  constructor(context: AgentContext, uuid: DomainUuid) {
    this.uuid = uuid;
    this.#context = context;
    this.#arrivedAtMs = context.clock.monotonicMs();
    this.record = new DomainRecord(context, uuid, (error) => {
      this.attention.clear('journal');
      if (!error) return;
      this.attention.raise('journal', error);
      context.log.error({ uuid, code: error.code }, `cannot write the journal: ${error.message}`);
    });
    this.#pending = new PendingCapture(context, uuid, this.attention);
    this.#shareLane = new ShareLane(context, uuid, this.attention, () => {
      this.dispatch({ kind: 'retry' });
    });
    this.#captureBackoff = new Backoff(context);
    this.#waiters = new Waiters(context.clock);
    this.#reread = new Reread(context, uuid);
    const nvramPath = (): string => this.place.nvramPath ?? '';
    this.#parts = new DomainParts(context, uuid, this.attention, nvramPath, () => {
      if (this.#state.run === 'running') this.dispatch({ kind: 'changed' });
    });
    this.#pace = new Pace(context.clock, context.config.timing.settleMs);
  }

  get state(): Lifecycle {
    return this.#state;
  }

  get name(): string {
    return this.record.current?.name ?? '';
  }

  get place(): DomainPlace {
    return domainPlace(this.#context.config, { ...this.record.current, uuid: this.uuid });
  }

  /** When the head that this host knows of was stored, RFC 3339 UTC, where that is known. */
  get publishedAt(): string | null {
    return this.record.current?.publishedAt ?? null;
  }

  /** How this host came to the volume for this run, when it took it from another one. */
  get takenOver(): TakeOver | undefined {
    return this.#state.run === 'stopped' ? undefined : (this.record.current?.takenOver ?? undefined);
  }

  /** Why the share has not everything that the domain wrote; `undefined` when it has. */
  get behind(): BehindReason | undefined {
    return behindBy(this.#state);
  }

  /** How long the share has been behind, ms; `undefined` when it is not. */
  get lagMs(): number | undefined {
    const since = behindSince(this.#point);
    return since === undefined ? undefined : this.#context.clock.monotonicMs() - since;
  }

  /** How many changes the share has not, at least. */
  get pendingChanges(): number {
    return this.#point.changes;
  }

  /** What its generations hold beside the TPM. */
  get parts(): readonly PartStatus[] {
    return this.#parts.status();
  }

  /** Of a domain that came, or is to come, by migration. */
  get arrival(): Arrival | undefined {
    return this.record.current?.arrival ?? undefined;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Takes up what the journal and the spool say of a former run of this program. */
  async recall(): Promise<void> {
    const record = await this.record.load();
    if (!record) return;
    this.#identity = record.identity ?? undefined;
    this.#parts.recall(record.unread);
    const spooled = await this.#pending.recall();
    if (this.#pending.capture) this.record.wasRead(this.#pending.capture);
    this.#recalled = true;
    this.#state = recalledRun(record, spooled?.digest, this.#context.bootId);
    const { clock } = this.#context;
    const storedAgeMs = record.publishedAt === null ? 0 : clock.nowMs() - Date.parse(record.publishedAt);
    const ageMs = spooled?.ageMs ?? Math.max(0, storedAgeMs);
    this.#point = recalledPoint(this.#state, clock.monotonicMs() - ageMs);
    this.#apply(this.#state);
  }

  /** A start was allowed: a new run of the domain begins with what its preparation found. */
  begin({ decision, hold, published, pending, identity, parts, absent, claim }: Prepared): void {
    this.#parts.begin(parts, absent);
    this.record.change({ unread: this.#parts.unread });
    this.#identity = identity;
    this.#claim = claim;
    this.#pending.begin(pending);
    this.#recalled = false;
    this.#diverged = new DivergedCopies();
    this.dispatch(
      decision === 'wait-incoming'
        ? { kind: 'incoming' }
        : { kind: 'prepared', hold, published, pending: pending?.state },
    );
  }

  /** A start that failed has no TPM of its own: what the run before it read, fenced maybe, is none of the volume's. */
  beginToGiveBack(start: Pick<Lifecycle, 'hold' | 'published' | 'pending'>): void {
    this.#identity = this.record.current?.identity ?? undefined;
    this.dispatch({ kind: 'prepared', ...start });
  }

  /** An incoming domain runs here. */
  arrived(): void {
    this.#arrivedAtMs = this.#context.clock.monotonicMs();
    this.record.arrived();
    this.dispatch({ kind: 'started' });
  }

  dispatch(event: LifecycleEvent): void {
    this.#apply(step(this.#state, event));
  }

  /** Nobody said that files changed: whether they are to be read again all the same. */
  async isToBeReread(): Promise<boolean> {
    return (await this.#reread.isDue(this.place)) || !isSettled(this.#state);
  }

  /** What failed on the share is tried again now; the next pauses begin short. */
  retry(): void {
    this.#shareLane.reset();
    if (this.#closed) return;
    this.dispatch({ kind: 'retry' });
    // State that lies on the share could not be read while it was away.
    if (this.place.live !== undefined && this.attention.has('capture')) this.dispatch({ kind: 'changed' });
  }

  /** Nothing is begun until `resume`: a preparation commits by itself, and nothing else of the domain may be under way beside it. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#apply(this.#state);
  }

  /** A start that was let through as an ordinary one takes a guest in: what it holds, if anything, is given back unless that guest may have it. */
  async becomeIncoming(): Promise<void> {
    this.pause();
    try {
      await this.until(isIdle);
      this.record.awaiting();
      this.dispatch({ kind: 'incoming' });
    } finally {
      this.resume();
    }
  }

  /** Resolves as soon as the condition holds; after `patienceMs` with false. */
  until(holds: Condition, patienceMs?: number): Promise<boolean> {
    return this.#waiters.until(this.#state, holds, patienceMs);
  }

  /** Begins nothing more, and resolves when what was begun has ended and the journal is written. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#shareLane.reset();
    this.#captureBackoff.reset();
    this.#parts.close();
    await this.until(isIdle);
    await this.record.saved();
  }

  /** Takes a new state, and begins what it wants. */
  #apply(state: Lifecycle): void {
    this.#become(state);
    this.record.follow(state, this.#identity);
    this.record.save();
    this.#context.runClaims?.show(this.uuid, this.#claimOfRun());
    this.#tellStanding();
    this.#rereadLater();
    if (!this.#closed && !this.#paused) this.#beginTasks();
    this.#waiters.show(this.#state);
  }

  /** Nobody else's run is under it, and it stands as far as this host knows. */
  #claimOfRun(): RunClaim | undefined {
    const { run, hold } = this.#state;
    const isShown = run === 'running' && hold.kind === 'held' && hold.epoch === this.#claim?.epoch;
    return isShown ? this.#claim : undefined;
  }

  #become(state: Lifecycle): void {
    const { pulse, clock } = this.#context;
    const sinceMs = pulse?.noticedSinceMs() ?? clock.monotonicMs();
    this.#point = advancePoint(this.#point, this.#state, state, sinceMs);
    this.#state = state;
  }

  /** What the operator has to know by the state alone, where nothing more exact was told already. */
  #tellStanding(): void {
    const codes = attentionOf(this.#state);
    if (!codes.includes('TPM_DEAD')) this.attention.clear('tpm');
    for (const code of codes) {
      const topic = STANDING_TOPIC[code];
      if (!this.attention.has(topic)) {
        this.attention.raise(topic, standingError(code, this.uuid, this.#state));
      }
    }
  }

  /** What could not be read is read again after a pause, whatever kept it from being read. */
  #rereadLater(): void {
    const isWanted = wantsReread(this.#state) && !this.#closed;
    if (isWanted === this.#isRereading) return;
    this.#isRereading = isWanted;
    if (!isWanted) {
      this.#captureBackoff.cancel();
      return;
    }
    this.#captureBackoff.schedule(() => {
      this.dispatch({ kind: 'changed' });
    });
  }

  #beginTasks(): void {
    const { local, share } = nextTasks(this.#state);
    for (const task of [local, share]) if (task) this.#become(begin(this.#state, task));
    if (local) void this.#runLocal(local);
    if (share) void this.#runShare(share);
  }

  async #runLocal(task: LocalTask): Promise<void> {
    const { hold } = this.#state;
    const epoch = hold.kind === 'none' || hold.kind === 'wanted' ? 0 : hold.epoch;
    if (task.kind === 'capture') {
      await this.#capture(task.final);
      return;
    }
    this.dispatch(await this.#pending.spool(this.name, epoch, task.diverged));
    // Published while it was spooled: the entry must not outlive that.
    if (this.#state.pending === undefined) await this.#pending.clear();
  }

  async #capture(final: boolean): Promise<void> {
    const { files, log } = this.#context;
    if (!final) await this.#pace.next();
    if (this.#state.capturesOver) {
      this.dispatch({ kind: 'capture-failed', again: false, missing: false });
      return;
    }
    this.dispatch({ kind: 'reading' });
    const wasRead = this.#reread.begin();
    try {
      const capture = this.#parts.read(await files.read(this.place, final), final);
      this.record.change({ unread: this.#parts.unread, unstored: null });
      wasRead();
      this.record.wasRead(capture);
      const foreign = this.#isForeign(capture);
      if (foreign) this.#reportForeign();
      else this.attention.clear('capture');
      this.#captureBackoff.reset();
      this.#identity ??= capture.identity;
      const incomplete = this.#parts.isBehind;
      const next = step(this.#state, { kind: 'captured', digest: capture.digest, foreign, incomplete });
      // In one turn with the state, so that a pending digest always has its capture.
      if (next.pending?.digest === capture.digest) this.#pending.replace(capture);
      this.#apply(next);
    } catch (error) {
      const found = asMirrorError(error);
      const isMissing = found.code === 'NO_STATE';
      const cause = this.#worded(found, final);
      // The manager deletes the directory of a domain whose stop was answered: then the spool has its final state.
      const isOver = isMissing && final && !this.#isUnstored && this.#state.pending?.spooled;
      if (!isOver) {
        const isNews = this.attention.get('capture')?.message !== cause.message;
        this.attention.raise('capture', cause);
        if (isNews) log.warn({ uuid: this.uuid, code: cause.code }, `capture failed: ${cause.message}`);
      }
      if (final && !isMissing) await this.#noteUnstored(cause);
      const again = cause.code === 'STATE_UNSTABLE' && !final;
      // What was there and could not be stored has not been stored by going away.
      const missing = isMissing && !this.#isUnstored;
      this.dispatch({ kind: 'capture-failed', again, missing });
    }
  }

  /** What its last run left is known to be newer than all that is stored. */
  get #isUnstored(): boolean {
    return (this.record.current?.unstored ?? null) !== null;
  }

  /**
   * G5: once the stop is answered, the manager may delete what could not be stored. The journal knows of
   * it, so that a start does not go on with the head as if nothing had been there.
   */
  async #noteUnstored(cause: MirrorError): Promise<void> {
    const copy = (await this.#keepCopy(cause)) ?? null;
    const fault = stateFaultOf(cause) ?? 'unreadable';
    const isLeftByPowerLoss = fault === 'zeroed' && (await wasLeftByFormerBoot(this.#context, this.place));
    if (fault === 'torn' || isLeftByPowerLoss) {
      // Of what is torn nothing is left that could be lost; and it is what could not be read before.
      const known = this.record.current?.unstored ?? undefined;
      if (known && !mayBeWhole(known.fault)) this.record.change({ unstored: null });
      return;
    }
    const at = new Date(this.#context.clock.nowMs()).toISOString();
    const why = cause.message.slice(0, WHY_CHARACTERS_MAX);
    this.record.change({ unstored: { at, fault, why, copy } });
  }

  async #keepCopy({ code, message }: MirrorError): Promise<string | undefined> {
    if (!UNSTORABLE.has(code) || this.place.live !== undefined) return undefined;
    const { files, log } = this.#context;
    try {
      const path = await files.keepAside(
        this.place,
        `the final state, which could not be stored: ${message}`,
      );
      if (path !== undefined) {
        log.warn({ uuid: this.uuid, path }, 'its final state could not be stored; a copy is kept');
      }
      return path;
    } catch (error) {
      const failed = asMirrorError(error);
      log.error({ uuid: this.uuid, code: failed.code }, failed.message);
      return undefined;
    }
  }

  #worded(cause: MirrorError, final: boolean): MirrorError {
    const { pending, published } = this.#state;
    const unstored = this.record.current?.unstored ?? undefined;
    if (cause.code === 'NO_STATE' && final && unstored) return notStored(this.uuid, unstored);
    const isLost = cause.code === 'NO_STATE' && final && !pending && !published;
    return isLost ? nothingLeft(this.uuid) : cause;
  }

  /** Of another TPM than the one that this run began with: a blank one that came up while nobody looked, most likely. */
  #isForeign({ identity }: Capture): boolean {
    return isOtherTpm(identity, this.#identity);
  }

  #reportForeign(): void {
    if (this.attention.get('capture')?.code === 'FOREIGN_TPM') return;
    const error = anotherTpm(this.uuid);
    this.attention.raise('capture', error);
    this.#context.log.error({ uuid: this.uuid, code: error.code }, error.message);
  }

  /** What waits was read before it was known what the head has beside the TPM. */
  #learn(parts: readonly StateFile[]): void {
    this.#parts.learn(parts);
    this.record.change({ unread: this.#parts.unread });
    const { capture } = this.#pending;
    const complete = capture && this.#parts.complete(capture);
    if (!capture || !complete || complete === capture) return;
    this.#pending.complete(complete);
    this.#become(step(this.#state, { kind: 'completed', from: capture.digest, digest: complete.digest }));
  }

  #learnFrom({ claim, parts, takenOver }: TaskOutcome): void {
    this.#claim = claim ?? this.#claim;
    if (parts) this.#learn(parts);
    if (takenOver) this.record.change({ takenOver });
  }

  async #runShare(task: ShareTask): Promise<void> {
    const { capture, bootId } = this.#pending;
    const { run, pending, published, dirty, local } = this.#state;
    const reason = task.kind === 'publish' && task.final ? 'stop' : published ? 'change' : 'adopt';
    // A capture under way may find something that is left.
    const over = run === 'finishing' && pending === undefined && !dirty && local === 'idle';
    const recalled = this.#recalled;
    const { arrival } = this;
    const arrivedForMs = this.#context.clock.monotonicMs() - this.#arrivedAtMs;
    const supersedes = capture && this.#diverged.before(capture, bootId);
    const known = { capture, bootId, published, reason, over, recalled, supersedes } as const;
    const domain = { ...this.place, name: this.name, ...known, arrival, arrivedForMs };
    const outcome = await this.#shareLane.run(domain, task);
    const { event, identity } = outcome;
    this.#learnFrom(outcome);
    if (event.kind === 'diverged' && capture) this.#diverged.kept(capture, bootId);
    if (event.kind === 'acquired') {
      this.#recalled = false;
      this.#identity = identity ?? this.#identity;
      // What was captured meanwhile was not judged against the head.
      const waiting = this.#state.pending && this.#pending.capture;
      const foreign = waiting !== undefined && this.#isForeign(waiting);
      if (foreign) this.#reportForeign();
      this.dispatch({ ...event, foreign });
    } else {
      this.dispatch(event);
    }
    if (this.#state.pending === undefined) await this.#pending.clear();
  }
}
