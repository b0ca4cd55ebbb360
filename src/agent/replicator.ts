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
  begin,
  nextTasks,
  step,
  STOPPED,
  type Lifecycle,
  type LifecycleEvent,
  type LocalTask,
  type ShareTask,
} from '../model/lifecycle.js';
import type { AgentContext } from './agent-context.js';
import { AttentionList } from './attention.js';
import { Backoff } from './backoff.js';
import { domainPlace, type DomainFacts, type DomainPlace } from './domain-place.js';
import { DomainRecord } from './domain-record.js';
import { PendingCapture } from './pending-capture.js';
import { prepareDomain, type Prepared } from './prepare.js';
import { HANDED_OVER, lostTo, runShareTask, wasHandedOver, type TaskOutcome } from './share-tasks.js';

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
  /** The capture behind the lifecycle's `pending`. */
  readonly #pending: PendingCapture;
  readonly #backoff: Backoff;
  #state: Lifecycle = STOPPED;
  #identity: string | undefined;
  /** Monotonic time since which something waits to reach the share. */
  #behindSinceMs: number | undefined;
  #watchers = new Set<() => void>();
  #closed = false;
  #preparing = false;
  /** Begins nothing: a preparation commits by itself, and nothing else of the domain may be under way beside it. */
  #paused = false;

  constructor(context: AgentContext, uuid: DomainUuid) {
    this.uuid = uuid;
    this.#context = context;
    this.#record = new DomainRecord(context.journal, context.clock, uuid, (error) => {
      this.attention.clear('journal');
      if (!error) return;
      this.attention.raise('journal', error);
      context.log.error({ uuid, code: error.code }, `cannot write the journal: ${error.message}`);
    });
    this.#pending = new PendingCapture(context, uuid, this.attention);
    this.#backoff = new Backoff(context);
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

  /** How long the share has been behind, ms. */
  get lagMs(): number {
    return this.#behindSinceMs === undefined ? 0 : this.#context.clock.monotonicMs() - this.#behindSinceMs;
  }

  /** Takes up what the journal and the spool say of a former run of this program. */
  async recall(): Promise<void> {
    const record = await this.#record.load();
    if (!record) return;
    this.#identity = record.identity ?? undefined;
    const spooled = await this.#pending.recall();
    if (spooled) this.#behindSinceMs = this.#monotonicAt(spooled.manifest.time);
    const unfinished = record.phase === 'stopped' && (record.holding || spooled !== undefined);
    const hold = record.fenced
      ? ({ kind: 'fenced', epoch: record.epoch, by: record.fenced.host } as const)
      : record.holding
        ? ({ kind: 'doubt', epoch: record.epoch } as const)
        : record.phase === 'running'
          ? ({ kind: 'wanted', how: 'adopt' } as const)
          : STOPPED.hold;
    this.#apply({
      ...STOPPED,
      run: unfinished ? 'finishing' : record.phase,
      hold,
      pending: spooled && { digest: spooled.capture.digest, spooled: true },
      published: record.digest ? { slot: record.slot, digest: record.digest } : undefined,
      // Also with a capture in the spool: the stop may have been on its way to take a newer one.
      dirty: record.phase === 'running' || unfinished,
      reason: 'recovered',
    });
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  async prepare(request: StartRequest): Promise<Prepared> {
    const { uuid } = this;
    const place = domainPlace(this.#context.config, uuid, request.nvramPath);
    if (this.#preparing) {
      throw new MirrorError('DOMAIN_BUSY', `the start of ${uuid} is already being prepared`, {
        next: 'wait for the other start to end, then try again',
        retriable: true,
      });
    }
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
          claimed: (epoch) => {
            claimed = epoch;
          },
        },
      );
      this.attention.clear('plan', 'fence', 'capture');
      this.#identity = prepared.identity;
      const { hold, published, pending } = prepared;
      this.#pending.begin(pending);
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
    if (unread) throw this.#neitherTookIt();
    if (pending === undefined) return ran ? 'published' : 'nothing';
    if (spoolFailed && !pending.spooled) throw this.#neitherTookIt();
    return 'spooled';
  }

  /** The share is known to be away: a stop under way waits for it no longer. */
  hurry(): void {
    this.#dispatch({ kind: 'stop-overdue' });
  }

  /** Captures now and waits until the share has it. @returns the slot of the head */
  async captureNow(): Promise<number> {
    if (this.#state.run === 'stopped') {
      throw new MirrorError('NO_SUCH_DOMAIN', `${this.uuid} is not running on this host`, {
        next: 'start it, or see its generations with `swtpm-mirror history`',
      });
    }
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
    this.#backoff.reset();
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
    this.#backoff.reset();
    await this.#idle();
    await this.#record.saved();
  }

  #idle(patienceMs?: number): Promise<boolean> {
    return this.#until((state) => state.local === 'idle' && state.share === 'idle', patienceMs);
  }

  /**
   * Lets what a former run of the domain left reach the share: one try. Nothing of the domain is under way when this resolves, and nothing
   * begins until the preparation has ended.
   *
   * @throws MirrorError `DOMAIN_RUNNING`; `SHARE_TIMEOUT` when the share kept it longer than `patienceMs`
   */
  async #finishLastRun(patienceMs: number): Promise<void> {
    const { clock, running } = this.#context;
    const untilMs = clock.monotonicMs() + patienceMs;
    if (this.#state.run === 'running' || this.#state.run === 'prepared') {
      if ((await running.list()).has(this.uuid)) {
        throw new MirrorError('DOMAIN_RUNNING', `${this.uuid} is running on this host already`, {
          next: 'stop it before it is started again',
        });
      }
      this.#dispatch({ kind: 'stopped', reason: 'not-seen-to-stop', handedOver: false });
    }
    this.#paused = false;
    if (this.#state.run === 'finishing') this.retry();
    await this.#until(
      (state) => state.run !== 'finishing' || isStuck(state) || (state.backoff && isSafe(state)),
      patienceMs,
    );
    this.#paused = true;
    if (!(await this.#idle(untilMs - clock.monotonicMs()))) throw stillFinishing(this.uuid);
    await this.#record.saved();
  }

  /** The start failed after the volume was claimed: it is released, so that the domain can start elsewhere. */
  #giveBack(epoch: Slot): void {
    const { published, pending } = this.#state;
    this.#dispatch({ kind: 'prepared', hold: { kind: 'doubt', epoch }, published, pending });
    this.#dispatch({ kind: 'stopped', reason: 'start-failed', handedOver: false });
  }

  /** Monotonic time of a wall clock time of the past. */
  #monotonicAt(time: string): number {
    const { clock } = this.#context;
    return clock.monotonicMs() - Math.max(0, clock.nowMs() - Date.parse(time));
  }

  #dispatch(event: LifecycleEvent): void {
    this.#apply(step(this.#state, event));
  }

  /** Takes a new state, and begins what it wants. */
  #apply(state: Lifecycle): void {
    this.#state = state;
    this.#record.follow(state, this.#pending.capture?.identity ?? this.#identity);
    this.#record.save();
    this.#behindSinceMs = isSettled(state)
      ? undefined
      : (this.#behindSinceMs ?? this.#context.clock.monotonicMs());
    if (!this.#closed && !this.#paused) this.#beginTasks();
    for (const watcher of [...this.#watchers]) watcher();
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
      this.#dispatch({ kind: 'capture-failed', again: false });
      return;
    }
    this.#apply(step(this.#state, { kind: 'reading' }));
    try {
      const capture = await files.read(this.place, final);
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
    const capture = task.kind === 'publish' || task.kind === 'diverge' ? this.#pending.capture : undefined;
    const { run, pending, published } = this.#state;
    const reason = task.kind === 'publish' && task.final ? 'stop' : published ? 'change' : 'adopt';
    const over = run === 'finishing' && pending === undefined && !this.#state.dirty;
    const domain = { ...this.place, name: this.name, capture, published, reason, over } as const;
    await this.#finishShare(task, await runShareTask(this.#context, domain, task));
  }

  async #finishShare(task: ShareTask, { event, error }: TaskOutcome): Promise<void> {
    const { log } = this.#context;
    const { uuid } = this;
    if (event.kind === 'share-failed') {
      if (error) this.attention.raise('share', error);
      log.warn(
        { uuid, task: task.kind, code: error?.code },
        `${task.kind} failed: ${error?.message ?? 'in doubt'}`,
      );
      this.#backoff.schedule(() => {
        this.#dispatch({ kind: 'retry' });
      });
    } else {
      this.#backoff.reset();
      this.attention.clear('share');
      if (event.kind === 'fenced') this.attention.raise('fence', error ?? lostTo(uuid, event.by));
      if (event.kind !== 'tidied') log.info({ uuid, ...event }, task.kind);
    }
    this.#dispatch(event);
    if (this.#state.pending === undefined) await this.#pending.clear();
  }

  #neitherTookIt(): MirrorError {
    return MirrorError.fromRecord({
      ...(this.attention.get('spool') ??
        this.attention.get('capture') ?? {
          code: 'HOST_IO',
          message: `neither the share nor the spool took the final state of ${this.uuid}`,
          next: 'free space in the state directory, then run `swtpm-mirror domain stopped` again',
        }),
      retriable: true,
    });
  }

  /** Resolves as soon as the condition holds; after `patienceMs` with false. */
  #until(holds: (state: Lifecycle) => boolean, patienceMs?: number): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (held: boolean): void => {
        cancel?.();
        this.#watchers.delete(look);
        resolve(held);
      };
      const look = (): void => {
        if (holds(this.#state)) end(true);
      };
      const cancel =
        patienceMs === undefined
          ? undefined
          : this.#context.clock.after(patienceMs, () => {
              end(false);
            });
      this.#watchers.add(look);
      look();
    });
  }
}

/** Nothing under way and nothing waiting. */
function isSettled(state: Lifecycle): boolean {
  return !state.dirty && state.pending === undefined && state.local === 'idle' && state.share === 'idle';
}

/** A final state that cannot be read: only somebody who mends that can end the stop. */
function isStuck(state: Lifecycle): boolean {
  return state.run === 'finishing' && state.unread && isSettled(state);
}

/** Nothing of a stop can be lost any more, or nothing more can be done about it. */
function isSafe({ dirty, local, pending, spoolFailed }: Lifecycle): boolean {
  return !dirty && local === 'idle' && (pending === undefined || pending.spooled || spoolFailed);
}

function stillFinishing(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'SHARE_TIMEOUT',
    `the share has not yet taken the state that ${uuid} left when it last stopped`,
    {
      next: 'check that the NFS server answers; the state is safe in the spool, then try again',
      retriable: true,
    },
  );
}
