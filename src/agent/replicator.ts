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
import type { Capture } from '../model/capture.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import { sleep } from '../model/environment.js';
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
import { DomainRecord } from './domain-record.js';
import { prepareDomain, type Prepared } from './prepare.js';
import { publishNote, spoolManifest } from './publish-note.js';
import { lostTo, runShareTask, type TaskOutcome } from './share-tasks.js';

/** Where a domain's final state is durable. */
export type StopOutcome = 'published' | 'spooled' | 'nothing';

export class Replicator {
  readonly uuid: DomainUuid;
  readonly attention = new AttentionList();
  readonly #context: AgentContext;
  readonly #record: DomainRecord;
  readonly #backoff: Backoff;
  #state: Lifecycle = STOPPED;
  /** The capture behind `pending`, and one that a share task still carries. */
  #pending: Capture | undefined;
  /** Name of the spool entry that stands for this domain. */
  #spooled: string | undefined;
  #identity: string | undefined;
  /** Monotonic time since which something waits to reach the share. */
  #behindSinceMs: number | undefined;
  #watchers = new Set<() => void>();
  #closed = false;
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
    this.#backoff = new Backoff(context);
  }

  get state(): Lifecycle {
    return this.#state;
  }

  get name(): string {
    return this.#record.current?.name ?? '';
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
    const spooled = (await this.#context.spool.peek(this.uuid)).newest;
    this.#pending = spooled?.capture;
    this.#spooled = spooled?.name;
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
      dirty: record.phase === 'running' || (unfinished && spooled === undefined),
      reason: 'recovered',
    });
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  async prepare(request: { readonly name: string; readonly incoming: boolean }): Promise<Prepared> {
    const { uuid } = this;
    if (this.#paused) {
      throw new MirrorError('DOMAIN_BUSY', `the start of ${uuid} is already being prepared`, {
        next: 'wait for the other start to end, then try again',
        retriable: true,
      });
    }
    await this.#finishLastRun();
    // The preparation commits by itself: nothing else of this domain may be under way beside it.
    this.#paused = true;
    await this.#idle();
    try {
      const prepared = await prepareDomain(this.#context, { uuid, ...request }, (error) => {
        this.attention.raise('plan', error);
      });
      this.attention.clear('plan', 'fence', 'capture');
      this.#identity = prepared.identity;
      this.#pending = prepared.pending?.capture;
      this.#spooled = prepared.pending?.spooledAs;
      const { hold, published, pending } = prepared;
      this.#record.change({ name: request.name, shareId: prepared.shareId ?? null });
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
      throw cause;
    } finally {
      this.#paused = false;
      this.#apply(this.#state);
    }
  }

  /** The domain runs here now. */
  async started(name?: string): Promise<void> {
    if (name !== undefined) this.#record.change({ name });
    this.#dispatch({ kind: 'started' });
    await this.#record.saved();
  }

  changed(): void {
    if (!this.#closed) this.#dispatch({ kind: 'changed' });
  }

  /**
   * The domain has stopped. Resolves when its final state is durable on the share or, past `timing.stop_deadline`, in the spool.
   *
   * @throws MirrorError when neither took it
   */
  async stopped(reason: string, handedOver = false): Promise<StopOutcome> {
    const ran = this.#state.run === 'running';
    this.#dispatch({ kind: 'stopped', reason, handedOver });
    const cancel = this.#context.clock.after(this.#context.config.timing.stopDeadlineMs, () => {
      this.#dispatch({ kind: 'stop-overdue' });
    });
    try {
      await this.#until((state) => state.run !== 'finishing' || (state.stopOverdue && isSafe(state)));
    } finally {
      cancel();
    }
    await this.#record.saved();
    if (this.#state.run !== 'finishing') return ran ? 'published' : 'nothing';
    if (this.#state.spoolFailed && !this.#state.pending?.spooled) throw this.#neitherTookIt();
    return 'spooled';
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
    await this.#until((state) => isSettled(state) || state.trouble || this.attention.has('capture'));
    const error = this.attention.get('capture') ?? this.attention.get('fence') ?? this.attention.get('share');
    if (error) throw MirrorError.fromRecord({ ...error, retriable: true });
    return this.#state.published?.slot ?? 0;
  }

  /** The share may answer again: what waits for it is tried now. */
  retry(): void {
    this.#backoff.reset();
    if (!this.#closed) this.#dispatch({ kind: 'retry' });
  }

  /** Resolves when nothing is under way and nothing waits, or the share is in trouble. */
  async settled(): Promise<void> {
    await this.#until((state) => isSettled(state) || state.trouble);
    await this.#record.saved();
  }

  /** Begins nothing more, and resolves when what was begun has ended and the journal is written. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#backoff.reset();
    await this.#idle();
    await this.#record.saved();
  }

  async #idle(): Promise<void> {
    await this.#until((state) => state.local === 'idle' && state.share === 'idle');
  }

  async #finishLastRun(): Promise<void> {
    if (this.#state.run === 'running' || this.#state.run === 'prepared') {
      const running = (await this.#context.running.list()).has(this.uuid);
      if (running) {
        throw new MirrorError('DOMAIN_RUNNING', `${this.uuid} is running on this host already`, {
          next: 'stop it before it is started again',
        });
      }
      await this.stopped('not-seen-to-stop');
      return;
    }
    if (this.#state.run !== 'finishing') return;
    this.retry();
    await this.#until((state) => state.run !== 'finishing' || state.trouble);
  }

  #dispatch(event: LifecycleEvent): void {
    this.#apply(step(this.#state, event));
  }

  /** Takes a new state, and begins what it wants. */
  #apply(state: Lifecycle): void {
    this.#state = state;
    this.#record.follow(state, this.#pending?.identity ?? this.#identity);
    this.#record.save();
    this.#behindSinceMs = isSettled(state) ? undefined : (this.#behindSinceMs ?? this.#context.clock.monotonicMs());
    if (!this.#closed && !this.#paused) this.#beginTasks();
    for (const watcher of [...this.#watchers]) watcher();
  }

  #beginTasks(): void {
    const { local, share } = nextTasks(this.#state);
    if (local) {
      this.#state = begin(this.#state, local);
      void this.#runLocal(local);
    }
    if (share) {
      this.#state = begin(this.#state, share);
      void this.#runShare(share);
    }
  }

  async #runLocal(task: LocalTask): Promise<void> {
    if (task.kind === 'spool') this.#dispatch(await this.#spool(task.diverged));
    else await this.#capture(task.final);
  }

  async #capture(final: boolean): Promise<void> {
    const { files, clock, config, log } = this.#context;
    if (!final) await sleep(clock, config.timing.settleMs);
    this.#apply(step(this.#state, { kind: 'reading' }));
    try {
      const capture = await files.read(this.uuid, final);
      this.attention.clear('capture');
      this.#identity = capture.identity;
      const next = step(this.#state, { kind: 'captured', digest: capture.digest });
      // In one turn with the state, so that a pending digest always has its capture.
      if (next.pending?.digest === capture.digest) this.#pending = capture;
      this.#apply(next);
    } catch (error) {
      const cause = asMirrorError(error);
      this.attention.raise('capture', cause);
      log.warn({ uuid: this.uuid, code: cause.code }, `capture failed: ${cause.message}`);
      this.#dispatch({ kind: 'capture-failed', again: cause.code === 'STATE_UNSTABLE' && !final });
    }
  }

  async #spool(diverged: boolean): Promise<LifecycleEvent> {
    const capture = this.#pending;
    if (!capture) return { kind: 'spool-failed' };
    const { spool, log } = this.#context;
    const { hold } = this.#state;
    const epoch = hold.kind === 'none' || hold.kind === 'wanted' ? 0 : hold.epoch;
    const note = publishNote(this.#context, this.name, diverged ? 'diverged' : 'recover');
    try {
      this.#spooled = await spool.put(spoolManifest(this.#context, capture, note, epoch), capture);
      this.attention.clear('spool');
      return { kind: 'spooled', digest: capture.digest };
    } catch (error) {
      const cause = asMirrorError(error);
      this.attention.raise('spool', cause);
      log.error({ uuid: this.uuid, code: cause.code }, `cannot keep the state in the spool: ${cause.message}`);
      return { kind: 'spool-failed' };
    }
  }

  async #runShare(task: ShareTask): Promise<void> {
    const capture = task.kind === 'publish' || task.kind === 'diverge' ? this.#pending : undefined;
    const { run, pending, published } = this.#state;
    const reason = task.kind === 'publish' && task.final ? 'stop' : published ? 'change' : 'adopt';
    const over = run === 'finishing' && pending === undefined && !this.#state.dirty;
    const domain = { uuid: this.uuid, name: this.name, capture, published, reason, over } as const;
    await this.#finishShare(task, await runShareTask(this.#context, domain, task));
  }

  async #finishShare(task: ShareTask, { event, error }: TaskOutcome): Promise<void> {
    const { log } = this.#context;
    const { uuid } = this;
    if (event.kind === 'share-failed') {
      if (error) this.attention.raise('share', error);
      log.warn({ uuid, task: task.kind, code: error?.code }, `${task.kind} failed: ${error?.message ?? 'in doubt'}`);
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
    if (this.#state.pending === undefined) await this.#unspool();
  }

  /** The share has what was pending, so the spool need not keep it. */
  async #unspool(): Promise<void> {
    const name = this.#spooled;
    this.#pending = undefined;
    this.#spooled = undefined;
    if (name === undefined) return;
    try {
      await this.#context.spool.remove(this.uuid, name);
    } catch (error) {
      // Harmless: what is left is published or kept as diverged once more, and found to be there already.
      const { code, message } = asMirrorError(error);
      this.#context.log.warn({ uuid: this.uuid, code }, `cannot clear the spool of a published state: ${message}`);
    }
  }

  #neitherTookIt(): MirrorError {
    return MirrorError.fromRecord({
      ...(this.attention.get('spool') ?? {
        code: 'HOST_IO',
        message: `neither the share nor the spool took the final state of ${this.uuid}`,
        next: 'free space in the state directory, then run `swtpm-mirror domain stopped` again',
      }),
      retriable: true,
    });
  }

  /** Resolves as soon as the condition holds. */
  #until(holds: (state: Lifecycle) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds(this.#state)) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }
}

/** Nothing under way and nothing waiting. */
function isSettled(state: Lifecycle): boolean {
  return !state.dirty && state.pending === undefined && state.local === 'idle' && state.share === 'idle';
}

/** Nothing of a stop can be lost any more, or nothing more can be done about it. */
function isSafe({ dirty, local, pending, spoolFailed }: Lifecycle): boolean {
  return !dirty && local === 'idle' && (pending === undefined || pending.spooled || spoolFailed);
}
