/**
 * replicator: one domain's life on this host: it runs the lifecycle's tasks and answers those who wait for them.
 *
 * Everything that happens is an event for the pure state machine (`model/lifecycle.ts`); after each one the tasks that the machine wants
 * are begun, at most one a lane. Nothing here decides.
 *
 * I1 What must survive a crash of the agent is in the journal before anybody is told: phase and hold before a start or stop is
 *    answered. The last published slot is written when it is convenient: the share knows it better.
 * I2 A capture that the lifecycle calls pending is kept in memory here until the lifecycle lets go of it.
 */
import { asMirrorError, MirrorError } from '../model/errors.js';
import { sleep } from '../model/environment.js';
import type { Slot } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import {
  step,
  STOPPED,
  type Lifecycle,
  type LifecycleEvent,
  type LocalTask,
  type ShareTask,
} from '../model/lifecycle.js';
import { begin, nextTasks } from '../model/lifecycle-tasks.js';
import type { AgentContext } from './agent-context.js';
import { AttentionList } from './attention.js';
import { domainPlace, type DomainFacts, type DomainPlace } from './domain-place.js';
import { DomainRecord } from './domain-record.js';
import { PendingCapture } from './pending-capture.js';
import { prepareDomain, type Prepared } from './prepare.js';
import {
  alreadyPreparing,
  anotherTpm,
  alreadyRunning,
  neitherTookIt,
  notRunning,
  stillFinishing,
} from './refusal.js';
import type { ClaimEntry } from '../model/log-entry.js';
import { recalledRun } from './recalled-run.js';
import { isIdle, isSafe, isSettled, isStuck, Waiters, type Condition } from './settling.js';
import { ShareLane } from './share-lane.js';
import { HANDED_OVER, wasHandedOver } from './share-tasks.js';

export interface StartRequest {
  readonly name: string;
  readonly nvramPath: string | undefined;
  /** The start is an incoming migration. */
  readonly incoming: boolean;
}

/** Where a domain's final state is durable. */
export type StopOutcome = 'published' | 'spooled' | 'nothing';

export class Replicator {
  readonly uuid: DomainUuid;
  readonly attention = new AttentionList();
  readonly #context: AgentContext;
  readonly #record: DomainRecord;
  /** What this host holds was claimed by a former run of this program. */
  #recalled = false;
  /** Of a domain that came by migration: its source's claim. */
  #source: ClaimEntry | undefined;
  /** The capture behind the lifecycle's `pending`. */
  readonly #pending: PendingCapture;
  readonly #shareLane: ShareLane;
  readonly #waiters: Waiters;
  #state: Lifecycle = STOPPED;
  #identity: string | undefined;
  /** Monotonic time since which something waits to reach the share. */
  #behindSinceMs: number | undefined;
  #closed = false;
  #preparing = false;
  /** Begins nothing: a preparation commits by itself, and nothing else of the domain may be under way beside it. */
  #paused = false;

  constructor(context: AgentContext, uuid: DomainUuid) {
    this.uuid = uuid;
    this.#context = context;
    this.#record = new DomainRecord(context, uuid, (error) => {
      this.attention.clear('journal');
      if (!error) return;
      this.attention.raise('journal', error);
      context.log.error({ uuid, code: error.code }, `cannot write the journal: ${error.message}`);
    });
    this.#pending = new PendingCapture(context, uuid, this.attention);
    this.#shareLane = new ShareLane(context, uuid, this.attention, () => {
      this.#dispatch({ kind: 'retry' });
    });
    this.#waiters = new Waiters(context.clock);
  }

  get state(): Lifecycle {
    return this.#state;
  }

  get name(): string {
    return this.#record.current?.name ?? '';
  }

  get place(): DomainPlace {
    return domainPlace(this.#context.config, this.uuid, this.#record.current?.nvramPath);
  }

  /** How long the share has been behind, ms; `undefined` when it is not. */
  get lagMs(): number | undefined {
    const since = this.#behindSinceMs;
    return since === undefined ? undefined : this.#context.clock.monotonicMs() - since;
  }

  /** Takes up what the journal and the spool say of a former run of this program. */
  async recall(): Promise<void> {
    const record = await this.#record.load();
    if (!record) return;
    this.#identity = record.identity ?? undefined;
    const spooled = await this.#pending.recall();
    if (spooled) this.#behindSinceMs = this.#context.clock.monotonicMs() - spooled.ageMs;
    this.#recalled = true;
    this.#apply(recalledRun(record, spooled?.digest));
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  async prepare(request: StartRequest): Promise<Prepared> {
    const { uuid } = this;
    const place = domainPlace(this.#context.config, uuid, request.nvramPath);
    if (this.#preparing) throw alreadyPreparing(uuid);
    this.#preparing = true;
    let claimed: Slot | undefined;
    try {
      const prepared = await prepareDomain(
        this.#context,
        { ...place, name: request.name, incoming: request.incoming },
        {
          finishLastRun: (patienceMs) => this.#finishLastRun(patienceMs),
          waiting: (error) => {
            this.attention.raise('plan', error);
          },
          claiming: async () => {
            if (this.#state.run === 'stopped') await this.#record.claiming();
          },
          claimed: (epoch) => {
            claimed = epoch;
          },
        },
      );
      this.attention.clear('plan', 'fence', 'capture');
      this.#identity = prepared.identity;
      const { hold, published, pending } = prepared;
      this.#pending.begin(pending);
      this.#recalled = false;
      this.#source = prepared.source;
      this.#record.change({
        name: request.name,
        shareId: prepared.shareId ?? null,
        nvramPath: place.nvramPath ?? null,
      });
      this.#dispatch(
        prepared.decision === 'wait-incoming'
          ? { kind: 'incoming' }
          : { kind: 'prepared', hold, published, pending: pending?.state },
      );
      await this.#record.saved();
      this.#context.log.info({ uuid, name: request.name, decision: prepared.decision }, 'prepared');
      return prepared;
    } catch (error) {
      const cause = asMirrorError(error);
      this.attention.raise('plan', cause);
      this.#context.log.warn({ uuid, code: cause.code }, `start refused: ${cause.message}`);
      if (claimed !== undefined) this.#giveBack(claimed);
      throw cause;
    } finally {
      this.#preparing = false;
      this.#paused = false;
      this.#apply(this.#state);
    }
  }

  /** What is told about the domain from now on holds for its place, too. */
  learn({ name, nvramPath }: DomainFacts): void {
    this.#record.change({
      ...(name !== undefined && { name }),
      ...(nvramPath !== undefined && { nvramPath }),
    });
  }

  /** The domain's processes run. Of an incoming domain that says nothing: its state is still on its way. */
  async launched(): Promise<void> {
    if (this.#state.run === 'incoming') await this.#record.saved();
    else await this.started();
  }

  /** The domain runs here now. */
  async started(): Promise<void> {
    this.#dispatch({ kind: 'started' });
    await this.#record.saved();
  }

  changed(): void {
    if (!this.#closed) this.#dispatch({ kind: 'changed' });
  }

  /**
   * The domain has stopped. Resolves when its final state is durable on the share or, past `timing.stop_deadline`, in the spool.
   *
   * @param reason `migrated`: it went on on another host, so that what lies here is not its newest state
   * @throws MirrorError when neither took it
   */
  async stopped(reason: string): Promise<StopOutcome> {
    const { run } = this.#state;
    const handedOver = reason === HANDED_OVER;
    // An incoming domain of which nobody said that it runs here: its source says it, by the reason of its release.
    if (run === 'incoming' && !handedOver && (await wasHandedOver(this.#context, this.uuid))) {
      this.#dispatch({ kind: 'started' });
    }
    const ran = this.#state.run === 'running' && !handedOver;
    this.#dispatch({ kind: 'stopped', reason, handedOver });
    const cancel = this.#context.clock.after(this.#context.config.timing.stopDeadlineMs, () => {
      this.#dispatch({ kind: 'stop-overdue' });
    });
    try {
      await this.#until(
        (state) => state.run !== 'finishing' || (state.stopOverdue && isSafe(state)) || isStuck(state),
      );
    } finally {
      cancel();
    }
    await this.#record.saved();
    const { pending, spoolFailed, unread } = this.#state;
    if (unread) throw neitherTookIt(this.uuid, this.attention);
    if (pending === undefined) return ran ? 'published' : 'nothing';
    if (spoolFailed && !pending.spooled) throw neitherTookIt(this.uuid, this.attention);
    return 'spooled';
  }

  /** The share is known to be away: a stop under way waits for it no longer. */
  hurry(): void {
    this.#dispatch({ kind: 'stop-overdue' });
  }

  /** Captures now and waits until the share has it. @returns the slot of the head */
  async captureNow(): Promise<number> {
    if (this.#state.run === 'stopped') throw notRunning(this.uuid);
    this.attention.clear('capture', 'share');
    this.#dispatch({ kind: 'changed' });
    this.retry();
    // Not `trouble`: that may be from before this try.
    await this.#until(
      (state) => isSettled(state) || this.attention.has('share') || this.attention.has('capture'),
    );
    const error = this.attention.get('capture') ?? this.attention.get('fence') ?? this.attention.get('share');
    if (error) throw MirrorError.fromRecord({ ...error, retriable: true });
    return this.#state.published?.slot ?? 0;
  }

  /** The share may answer again: what waits for it is tried now. */
  retry(): void {
    this.#shareLane.reset();
    if (!this.#closed) this.#dispatch({ kind: 'retry' });
  }

  /** Resolves when nothing is under way and nothing waits, or the share is in trouble and a final state is safe. */
  async settled(): Promise<void> {
    await this.#until(
      (state) => isSettled(state) || (state.trouble && (state.run !== 'finishing' || isSafe(state))),
    );
    await this.#record.saved();
  }

  /** Begins nothing more, and resolves when what was begun has ended and the journal is written. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#shareLane.reset();
    await this.#until(isIdle);
    await this.#record.saved();
  }

  /**
   * Lets what a former run of the domain left reach the share: one try. Nothing of the domain is under way when this resolves, and nothing
   * begins until the preparation has ended.
   *
   * @throws MirrorError `DOMAIN_RUNNING`; `SHARE_TIMEOUT` when the share kept it longer than `patienceMs`
   */
  async #finishLastRun(patienceMs: number): Promise<boolean> {
    const { clock, running } = this.#context;
    const untilMs = clock.monotonicMs() + patienceMs;
    if (this.#state.run === 'running' || this.#state.run === 'prepared') {
      if ((await running.list()).has(this.uuid)) throw alreadyRunning(this.uuid);
      this.#dispatch({ kind: 'stopped', reason: 'not-seen-to-stop', handedOver: false });
    }
    this.#paused = false;
    if (this.#state.run === 'finishing') this.retry();
    await this.#until(
      (state) => state.run !== 'finishing' || isStuck(state) || (state.backoff && isSafe(state)),
      patienceMs,
    );
    this.#paused = true;
    if (!(await this.#until(isIdle, untilMs - clock.monotonicMs()))) throw stillFinishing(this.uuid);
    await this.#record.saved();
    return this.#state.run !== 'finishing';
  }

  /** The start failed after the volume was claimed: it is released, so that the domain can start elsewhere. */
  #giveBack(epoch: Slot): void {
    const { published, pending } = this.#state;
    this.#dispatch({ kind: 'prepared', hold: { kind: 'doubt', epoch }, published, pending });
    this.#dispatch({ kind: 'stopped', reason: 'start-failed', handedOver: false });
  }

  #dispatch(event: LifecycleEvent): void {
    this.#apply(step(this.#state, event));
  }

  /** Takes a new state, and begins what it wants. */
  #apply(state: Lifecycle): void {
    this.#state = state;
    this.#record.follow(state, this.#pending.capture?.identity ?? this.#identity);
    this.#record.save();
    const isBehind = state.dirty || state.pending !== undefined;
    this.#behindSinceMs = isBehind ? (this.#behindSinceMs ?? this.#context.clock.monotonicMs()) : undefined;
    if (!this.#closed && !this.#paused) this.#beginTasks();
    this.#waiters.show(this.#state);
  }

  #beginTasks(): void {
    const { local, share } = nextTasks(this.#state);
    // Both stand as begun before either runs: what a task does at once leads back here.
    for (const task of [local, share]) if (task) this.#state = begin(this.#state, task);
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
    this.#dispatch(await this.#pending.spool(this.name, epoch, task.diverged));
    // Published while it was spooled: the entry must not outlive that.
    if (this.#state.pending === undefined) await this.#pending.clear();
  }

  async #capture(final: boolean): Promise<void> {
    const { files, clock, config, log } = this.#context;
    if (!final) await sleep(clock, config.timing.settleMs);
    if (this.#state.capturesOver) {
      this.#dispatch({ kind: 'capture-failed', again: false, missing: false });
      return;
    }
    this.#apply(step(this.#state, { kind: 'reading' }));
    try {
      const capture = await files.read(this.place, final);
      const isAnother =
        this.#identity !== undefined && capture.identity !== undefined && capture.identity !== this.#identity;
      if (isAnother) throw anotherTpm(this.uuid);
      this.attention.clear('capture');
      this.#identity = capture.identity;
      const next = step(this.#state, { kind: 'captured', digest: capture.digest });
      // In one turn with the state, so that a pending digest always has its capture.
      if (next.pending?.digest === capture.digest) this.#pending.replace(capture);
      this.#apply(next);
    } catch (error) {
      const cause = asMirrorError(error);
      // The manager deletes the directory of a domain whose stop was answered: then the spool has its final state.
      const isOver = cause.code === 'NO_STATE' && final && this.#state.pending?.spooled;
      if (!isOver) {
        this.attention.raise('capture', cause);
        log.warn({ uuid: this.uuid, code: cause.code }, `capture failed: ${cause.message}`);
      }
      const again = cause.code === 'STATE_UNSTABLE' && !final;
      this.#dispatch({ kind: 'capture-failed', again, missing: cause.code === 'NO_STATE' });
    }
  }

  async #runShare(task: ShareTask): Promise<void> {
    const { capture } = this.#pending;
    const { run, pending, published } = this.#state;
    const reason = task.kind === 'publish' && task.final ? 'stop' : published ? 'change' : 'adopt';
    const over = run === 'finishing' && pending === undefined && !this.#state.dirty;
    const recalled = this.#recalled;
    const known = { capture, published, reason, over, recalled, source: this.#source } as const;
    const domain = { ...this.place, name: this.name, ...known };
    const event = await this.#shareLane.run(domain, task);
    if (event.kind === 'acquired') this.#recalled = false;
    this.#dispatch(event);
    if (this.#state.pending === undefined) await this.#pending.clear();
  }

  /** Resolves as soon as the condition holds; after `patienceMs` with false. */
  #until(holds: Condition, patienceMs?: number): Promise<boolean> {
    return this.#waiters.until(this.#state, holds, patienceMs);
  }
}
