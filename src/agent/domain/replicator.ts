/**
 * replicator: one domain's life on this host, as those who start and stop it see it: each call tells the domain's run what happened, and is answered when the
 * run has come as far as the answer needs.
 *
 * I1 What must survive a crash of the agent is in the journal before anybody is told: phase and hold before a start or stop is
 *    answered. The last published slot is written when it is convenient: the share knows it better.
 */
import type { Arrival } from '../../host/journal-record.js';
import { MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';
import type { BehindReason } from '../../model/recovery-point.js';
import type { TakeOver } from '../../model/take-over.js';
import type { AgentContext } from '../agent-context.js';
import type { AttentionList } from '../attention.js';
import type { DomainFacts, DomainPlace } from '../domain-place.js';
import { phaseOf } from '../phase.js';
import type { Prepared, StartRequest } from '../start/prepared.js';
import { noArrival, notClaimed, notRunning } from '../start/refusal.js';
import { Beginning } from './beginning.js';
import { keptForm, type PartStatus } from './domain-parts.js';
import { DomainRun } from './domain-run.js';
import { endRun, type StopOutcome } from './ending.js';
import { tpmDead } from './standing.js';
import { isSafe, isSettled, isStuck } from './settling.js';

/** Every hour, at the default `timing.rescan`: who takes a volume by force from a host that is alive does not tell it. */
const LOOKS_A_CONFIRMATION = 120;

export class Replicator {
  readonly uuid: DomainUuid;
  readonly #context: AgentContext;
  readonly #run: DomainRun;
  readonly #beginning: Beginning;
  #looks: number;

  constructor(context: AgentContext, uuid: DomainUuid) {
    this.uuid = uuid;
    this.#context = context;
    this.#run = new DomainRun(context, uuid);
    this.#beginning = new Beginning(context, this.#run);
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
    return (this.state.run === 'stopped' || isStuck(this.state)) && !this.#beginning.isUnderWay;
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

  /** Why the share has not everything that the domain wrote; `undefined` when it has. */
  get behind(): BehindReason | undefined {
    return this.#run.behind;
  }

  /** How long the share has been behind, ms; `undefined` when it is not. */
  get lagMs(): number | undefined {
    return this.#run.lagMs;
  }

  /** What its generations hold beside the TPM. */
  get parts(): readonly PartStatus[] {
    return this.#run.parts;
  }

  /** How many changes the share has not, at least. */
  get pendingChanges(): number {
    return this.#run.pendingChanges;
  }

  /** Takes up what the journal and the spool say of a former run of this program. */
  async recall(): Promise<void> {
    await this.#run.recall();
    if (this.place.tpm) this.#context.running.know?.(this.uuid, this.place.tpm.directory);
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  prepare(request: StartRequest): Promise<Prepared> {
    return this.#beginning.prepare(request);
  }

  /** What is told about the domain from now on holds for its place, too. */
  learn({ name, nvramPath, nvram, tpm }: DomainFacts): void {
    this.#run.record.change({
      ...(name !== undefined && { name }),
      ...(nvramPath !== undefined && { nvramPath }),
      ...(nvram !== undefined && { nvram: keptForm(nvram) }),
      ...(tpm !== undefined && { tpm }),
    });
    if (tpm !== undefined) this.#context.running.know?.(this.uuid, tpm?.directory);
  }

  /**
   * The domain's processes run. Of an incoming domain that says nothing: its state is still on its way.
   *
   * @throws MirrorError `HELD_ELSEWHERE` when it was let through as the migration that was announced, and is none;
   *   `SHARE_TIMEOUT` when it cannot be claimed then
   */
  async launched(): Promise<void> {
    const { arrival } = this.#run;
    if (arrival) await this.#compareWithAnnouncement(arrival);
    if (this.state.run === 'incoming') await this.#run.record.saved();
    else await this.started();
  }

  /** Only now can it be seen whether this start is the migration that was announced. */
  async #compareWithAnnouncement({ source, logTop }: Arrival): Promise<void> {
    const { run } = this.state;
    if (run !== 'incoming' && run !== 'prepared') return;
    const takesGuestIn = await this.#context.running.takesGuestIn(this.uuid);
    if (run === 'prepared' && takesGuestIn === true) await this.#run.becomeIncoming();
    if (run !== 'incoming' || takesGuestIn !== false) return;
    if (source) throw noArrival(this.uuid, source.host);
    this.#run.arrived();
    // The share was asked, and knew of nobody; since then another host may have started it, too.
    if (logTop !== null) await this.#expectClaimed();
  }

  /** An ordinary start, of a domain that nobody ever had: its guest does not run before the volume is this host's. */
  async #expectClaimed(): Promise<void> {
    const { timing, start } = this.#context.config;
    const isKnown = await this.#run.until(
      ({ run, hold }) => run !== 'running' || hold.kind === 'held' || hold.kind === 'fenced',
      timing.startDeadlineMs,
    );
    const { hold } = this.state;
    if (hold.kind === 'fenced') throw noArrival(this.uuid, hold.by);
    if (!isKnown && start.withoutShare === 'refuse') throw notClaimed(this.uuid);
  }

  /** The domain runs here now. */
  async started(): Promise<void> {
    // What came with a migration is the newest state; until then nobody knows what lies here.
    if (this.state.run === 'incoming') this.#run.arrived();
    else this.#run.dispatch({ kind: 'started' });
    await this.#run.record.saved();
  }

  /**
   * Its swtpm has ended, and the domain has not, as far as is known: what it left is stored, and its volume stays held.
   *
   * @param fate `runs`: its guest does, without a TPM; `unknown`: nobody can tell
   */
  lostTpm(fate: 'runs' | 'unknown'): void {
    if (this.state.run !== 'running' || this.#run.isClosed) return;
    const error = tpmDead(this.uuid, fate);
    const { attention } = this;
    if (attention.get('tpm')?.message !== error.message) {
      this.#context.log.error({ uuid: this.uuid, code: error.code }, error.message);
    }
    attention.raise('tpm', error);
    this.#run.dispatch({ kind: 'tpm-gone' });
  }

  hasTpm(): void {
    if (this.state.tpmGone && !this.#run.isClosed) this.#run.dispatch({ kind: 'tpm-back' });
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

  /** The domain has stopped: see `endRun`. */
  stopped(reason: string): Promise<StopOutcome> {
    return endRun(this.#context, this.#run, reason);
  }

  /** The share is known to be away: a stop under way waits for it no longer. */
  hurry(): void {
    this.#run.dispatch({ kind: 'stop-overdue' });
  }

  /** Looks whether the claim on the volume still stands, in case another host has taken it over. */
  confirmClaim(): void {
    this.#beginning.doubtClaim();
    if (!this.#run.isClosed) this.#run.dispatch({ kind: 'unsure' });
  }

  /** Captures now and waits until the share has it, under a claim that stands. @returns the slot of the head */
  async captureNow(): Promise<number> {
    const { attention } = this;
    if (this.state.run === 'stopped') throw notRunning(this.uuid);
    attention.clear('capture', 'share');
    this.#run.dispatch({ kind: 'changed' });
    this.confirmClaim();
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
}
