/**
 * replicator: one domain's life on this host, as those who start and stop it see it: each call tells the domain's run what happened, and is answered when the
 * run has come as far as the answer needs.
 *
 * I1 What must survive a crash of the agent is in the journal before anybody is told: phase and hold before a start or stop is
 *    answered. The last published slot is written when it is convenient: the share knows it better.
 */
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { holdAfterFailedStart } from '../../model/hold.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';
import { HANDED_OVER, NEVER_RAN, START_FAILED } from '../../model/log-entry.js';
import type { TakeOver } from '../../model/take-over.js';
import type { AgentContext } from '../agent-context.js';
import { wasHandedOver } from './arrived-by-migration.js';
import type { AttentionList } from '../attention.js';
import { domainPlace, type DomainFacts, type DomainPlace } from '../domain-place.js';
import { DomainRun } from './domain-run.js';
import { phaseOf } from '../phase.js';
import { prepareDomain } from '../start/prepare.js';
import type { Prepared, StartRequest } from '../start/prepared.js';
import {
  alreadyPreparing,
  alreadyRunning,
  neitherTookIt,
  notRunning,
  stillFinishing,
} from '../start/refusal.js';
import { isIdle, isLingering, isSafe, isSettled, isStuck } from './settling.js';

/** Every hour, at the default `timing.rescan`: who takes a volume by force from a host that is alive does not tell it. */
const LOOKS_A_CONFIRMATION = 120;

/** Where a domain's final state is durable. */
export type StopOutcome = 'published' | 'spooled' | 'nothing';

export class Replicator {
  readonly uuid: DomainUuid;
  readonly #context: AgentContext;
  readonly #run: DomainRun;
  #preparing = false;
  #looks: number;

  constructor(context: AgentContext, uuid: DomainUuid) {
    this.uuid = uuid;
    this.#context = context;
    this.#run = new DomainRun(context, uuid);
    this.#looks = phaseOf(uuid, LOOKS_A_CONFIRMATION);
  }

  get state(): Lifecycle {
    return this.#run.state;
  }

  get attention(): AttentionList {
    return this.#run.attention;
  }

  get name(): string {
    return this.#run.name;
  }

  get place(): DomainPlace {
    return this.#run.place;
  }

  /** Whether the domain has stopped, with nothing on its way to start it, and nothing more to be stored of it. */
  get isIdle(): boolean {
    return (this.state.run === 'stopped' || isStuck(this.state)) && !this.#preparing;
  }

  /** Whether libvirt's hook prepared the present run. */
  get isByHook(): boolean {
    return this.#run.record.current?.byHook ?? false;
  }

  get publishedAt(): string | null {
    return this.#run.publishedAt;
  }

  get takenOver(): TakeOver | undefined {
    return this.#run.takenOver;
  }

  /** How long the share has been behind, ms; `undefined` when it is not. */
  get lagMs(): number | undefined {
    return this.#run.lagMs;
  }

  /** How many changes the share has not, at least. */
  get pendingChanges(): number {
    return this.#run.pendingChanges;
  }

  /** Takes up what the journal and the spool say of a former run of this program. */
  recall(): Promise<void> {
    return this.#run.recall();
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  async prepare(request: StartRequest): Promise<Prepared> {
    const { uuid } = this;
    const run = this.#run;
    const place = domainPlace(this.#context.config, uuid, request.nvramPath, run.place.live);
    if (this.#preparing) throw alreadyPreparing(uuid);
    this.#preparing = true;
    let claimed: Slot | 'unknown' | undefined;
    try {
      const prepared = await prepareDomain(
        this.#context,
        { ...request, ...place },
        {
          finishLastRun: (patienceMs) => this.#finishLastRun(patienceMs),
          waiting: (error) => {
            run.attention.raise('plan', error);
          },
          claiming: () => run.record.claiming(run.state),
          claimed: (epoch) => {
            claimed = epoch;
          },
        },
      );
      run.attention.clear('plan', 'fence', 'capture');
      if (prepared.notice) run.attention.raise('plan', prepared.notice);
      run.record.change({
        name: request.name,
        byHook: request.byHook ?? false,
        shareId: prepared.shareId ?? null,
        nvramPath: place.nvramPath ?? null,
        live: prepared.live ?? null,
        takenOver: prepared.takenOver ?? null,
      });
      if (prepared.arrival) run.record.awaiting(prepared.arrival);
      else run.record.judged();
      run.begin(prepared);
      await run.record.saved();
      const carried = request.carried && (prepared.notice ? 'used' : 'ignored');
      this.#context.log.info({ uuid, name: request.name, decision: prepared.decision, carried }, 'prepared');
      this.#context.meter?.started(prepared.decision);
      this.#context.feed?.tell({ kind: 'prepared', uuid, decision: prepared.decision });
      return prepared;
    } catch (error) {
      const cause = asMirrorError(error);
      this.#context.meter?.refused(cause.code);
      run.attention.raise('plan', cause);
      this.#context.log.warn({ uuid, code: cause.code }, `start refused: ${cause.message}`);
      if (claimed !== undefined) await this.#giveBack(claimed);
      throw cause;
    } finally {
      this.#preparing = false;
      run.record.claimed();
      run.resume();
    }
  }

  /** What is told about the domain from now on holds for its place, too. */
  learn({ name, nvramPath }: DomainFacts): void {
    this.#run.record.change({
      ...(name !== undefined && { name }),
      ...(nvramPath !== undefined && { nvramPath }),
    });
  }

  /** The domain's processes run. Of an incoming domain that says nothing: its state is still on its way. */
  async launched(): Promise<void> {
    if (this.state.run === 'incoming') await this.#run.record.saved();
    else await this.started();
  }

  /** The domain runs here now. */
  async started(): Promise<void> {
    // What came with a migration is the newest state; until then nobody knows what lies here.
    if (this.state.run === 'incoming') this.#run.record.judged();
    this.#run.dispatch({ kind: 'started' });
    await this.#run.record.saved();
  }

  changed(): void {
    if (!this.#run.isClosed) this.#run.dispatch({ kind: 'changed' });
  }

  async rescan(): Promise<void> {
    if (!this.#run.isClosed) this.#run.record.retry();
    if (this.state.run === 'running' && (await this.#run.isToBeReread())) this.changed();
    this.#looks += 1;
    if (this.#looks % LOOKS_A_CONFIRMATION === 0) this.confirmClaim();
  }

  /**
   * The domain has stopped. Resolves when its final state is durable on the share or, past `timing.stop_deadline`, in the spool.
   *
   * @param reason `migrated`: it went on on another host, so that what lies here is not its newest state
   * @throws MirrorError when neither took it
   */
  async stopped(reason: string): Promise<StopOutcome> {
    const run = this.#run;
    const handedOver = reason === HANDED_OVER;
    // An incoming domain of which nobody said that it ran here, or never did: its source says it, by the reason of its release.
    const isUntold = run.state.run === 'incoming' && !handedOver && reason !== NEVER_RAN;
    if (isUntold && (await wasHandedOver(this.#context, this.uuid, run.arrival))) {
      run.record.arrived();
      run.dispatch({ kind: 'started' });
    }
    const ran = run.state.run === 'running' && !handedOver;
    run.dispatch({ kind: 'stopped', reason, handedOver });
    const cancel = this.#context.clock.after(this.#context.config.timing.stopDeadlineMs, () => {
      this.hurry();
    });
    try {
      await run.until(
        (state) =>
          state.run !== 'finishing' ||
          (state.stopOverdue && isSafe(state)) ||
          isStuck(state) ||
          isLingering(state),
      );
    } finally {
      cancel();
    }
    await this.#leaveShare();
    await run.record.saved();
    const { pending, spoolFailed, unread, passedOver } = run.state;
    if (unread || passedOver) throw neitherTookIt(this.uuid, run.attention);
    if (pending === undefined) return ran ? 'published' : 'nothing';
    if (spoolFailed && !pending.spooled) throw neitherTookIt(this.uuid, run.attention);
    return 'spooled';
  }

  /** The share is known to be away: a stop under way waits for it no longer. */
  hurry(): void {
    this.#run.dispatch({ kind: 'stop-overdue' });
  }

  /** Looks whether the claim on the volume still stands, in case another host has taken it over. */
  confirmClaim(): void {
    if (!this.#run.isClosed) this.#run.dispatch({ kind: 'unsure' });
  }

  /** Captures now and waits until the share has it. @returns the slot of the head */
  async captureNow(): Promise<number> {
    const { attention } = this;
    if (this.state.run === 'stopped') throw notRunning(this.uuid);
    attention.clear('capture', 'share');
    this.#run.dispatch({ kind: 'changed' });
    this.retry();
    // Not `trouble`: that may be from before this try.
    await this.#run.until((state) => isSettled(state) || attention.has('share') || attention.has('capture'));
    const error = attention.get('capture') ?? attention.get('fence') ?? attention.get('share');
    if (error) throw MirrorError.fromRecord({ ...error, retriable: true });
    return this.state.published?.slot ?? 0;
  }

  /** The share may answer again: what waits for it is tried now. */
  retry(): void {
    this.#run.retry();
    // State that lies on the share could not be read while it was away.
    if (this.place.live !== undefined && this.attention.has('capture')) this.changed();
  }

  /** Resolves when nothing is under way and nothing waits, or the share is in trouble and a final state is safe. */
  async settled(): Promise<void> {
    await this.#run.until(
      (state) => isSettled(state) || (state.trouble && (state.run !== 'finishing' || isSafe(state))),
    );
    await this.#run.record.saved();
  }

  /** Begins nothing more, and resolves when what was begun has ended and the journal is written. */
  close(): Promise<void> {
    return this.#run.close();
  }

  /**
   * Lets what a former run of the domain left reach the share: one try. Nothing of the domain is under way when this resolves, and nothing
   * begins until the preparation has ended.
   *
   * @throws MirrorError `DOMAIN_RUNNING`; `SHARE_TIMEOUT` when the share kept it longer than `patienceMs`
   */
  async #finishLastRun(patienceMs: number): Promise<boolean> {
    const { clock, running } = this.#context;
    const run = this.#run;
    const untilMs = clock.monotonicMs() + patienceMs;
    if (run.state.run === 'running' || run.state.run === 'prepared') {
      if ((await running.list()).has(this.uuid)) throw alreadyRunning(this.uuid);
      run.dispatch({ kind: 'stopped', reason: 'not-seen-to-stop', handedOver: false });
    }
    run.resume();
    if (run.state.run === 'finishing') this.retry();
    await run.until(
      (state) => state.run !== 'finishing' || isStuck(state) || (state.backoff && isSafe(state)),
      patienceMs,
    );
    run.pause();
    if (!(await run.until(isIdle, untilMs - clock.monotonicMs()))) throw stillFinishing(this.uuid);
    await run.record.saved();
    return run.state.run !== 'finishing' || isLingering(run.state);
  }

  /**
   * swtpm has ended. A link to the share goes before libvirt could delete it, and what lies behind it as soon as it is safe; what this misses, the next
   * holder's tidying finds.
   */
  async #leaveShare(): Promise<void> {
    const { uuid } = this;
    const { live } = this.place;
    if (live === undefined) return;
    const { files, share, log } = this.#context;
    await files.takeLinksAway(uuid);
    const { unread, pending, trouble } = this.state;
    if (unread || (pending && !pending.spooled)) return;
    this.#run.record.change({ live: null });
    if (trouble) return;
    await share.removeLive({ uuid, live }).catch((error: unknown) => {
      const { code, message } = asMirrorError(error);
      log.info({ uuid, code }, `cannot remove where the domain's swtpm worked: ${message}`);
    });
  }

  /** The start failed after the volume was claimed: it is released, so that the domain can start elsewhere. */
  async #giveBack(claim: Slot | 'unknown'): Promise<void> {
    const { published, pending } = this.state;
    if (this.#context.config.placement === 'direct') await this.#context.files.takeLinksAway(this.uuid);
    const hold = holdAfterFailedStart(this.state, claim, this.#run.record.current?.epoch ?? 0);
    this.#run.dispatch({ kind: 'prepared', hold, published, pending });
    this.#run.dispatch({ kind: 'stopped', reason: START_FAILED, handedOver: false });
  }
}
