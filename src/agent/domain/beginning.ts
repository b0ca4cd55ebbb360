/**
 * beginning: a start of the domain on this host, from the request to the new run, or to the refusal that leaves no claim behind.
 *
 * I1 Nothing of the last run is under way while a start is prepared, and nothing of it begins.
 */
import { asMirrorError, type MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import { holdAfterFailedStart } from '../../model/hold.js';
import { START_FAILED } from '../../model/log-entry.js';
import type { AgentContext } from '../agent-context.js';
import { domainPlace, type DomainPlace } from '../domain-place.js';
import { prepareDomain } from '../start/prepare.js';
import type { PrepareRequest, Prepared, StartRequest } from '../start/prepared.js';
import { alreadyPreparing, alreadyRunning, runsWithoutTpm, stillFinishing } from '../start/refusal.js';
import { keptForm } from './domain-parts.js';
import type { DomainRun } from './domain-run.js';
import { isIdle, isLingering, isSafe, isStuck } from './settling.js';

export class Beginning {
  readonly #context: AgentContext;
  readonly #run: DomainRun;
  #isUnderWay = false;
  /** Others may have taken this host for dead since the start under way began. */
  #isUnsure = false;

  constructor(context: AgentContext, run: DomainRun) {
    this.#context = context;
    this.#run = run;
  }

  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** The claim of a start under way may have been taken over: that is looked up as soon as its run begins. */
  doubtClaim(): void {
    this.#isUnsure = true;
  }

  /**
   * Restores the domain's state, or refuses its start.
   *
   * @throws MirrorError the refusal, with the operator's next step
   */
  async prepare(request: StartRequest): Promise<Prepared> {
    const run = this.#run;
    if (this.#isUnderWay) throw alreadyPreparing(run.uuid);
    this.#isUnderWay = true;
    this.#isUnsure = false;
    let claimed: Slot | 'unknown' | undefined;
    const { nvramPath, nvram, tpm, ...asked } = request;
    const place = domainPlace(this.#context.config, {
      uuid: run.uuid,
      nvramPath,
      nvram,
      live: run.place.live,
      tpm,
    });
    try {
      const prepared = await this.#planned({ ...asked, ...place }, (claim) => {
        claimed = claim;
      });
      await this.#begin(request, prepared, place);
      return prepared;
    } catch (error) {
      const cause = asMirrorError(error);
      this.#refuse(cause);
      if (claimed !== undefined) await this.#giveBack(claimed);
      throw cause;
    } finally {
      this.#isUnderWay = false;
      run.record.claimed();
      run.resume();
    }
  }

  /** @param claimed is told what the start has claimed; 'unknown' for a claim in doubt */
  async #planned(request: PrepareRequest, claimed: (claim: Slot | 'unknown') => void): Promise<Prepared> {
    const run = this.#run;
    return await prepareDomain(this.#context, request, {
      finishLastRun: (patienceMs) => this.#finishLastRun(patienceMs),
      waiting: (error) => {
        run.attention.raise('plan', error);
      },
      claiming: () => run.record.claiming(run.state),
      claimed,
    });
  }

  /** The start is allowed: its run begins, and is in the journal before that is answered. */
  async #begin(request: StartRequest, prepared: Prepared, place: DomainPlace): Promise<void> {
    const { log, meter, feed } = this.#context;
    const run = this.#run;
    const { uuid } = run;
    const { decision, notice } = prepared;
    run.attention.clear('plan', 'fence', 'capture');
    if (notice) run.attention.raise('plan', notice);
    run.record.change({
      name: request.name,
      byHook: request.byHook ?? false,
      shareId: prepared.shareId ?? null,
      nvramPath: place.nvramPath ?? null,
      nvram: keptForm(place.nvram ?? null),
      tpm: request.tpm ?? null,
      live: prepared.live ?? null,
      takenOver: prepared.takenOver ?? null,
      arrival: prepared.arrival ?? null,
      unstored: null,
    });
    this.#context.running.know?.(uuid, request.tpm?.directory);
    // Whoever comes may bring another state; until then what lies here is what this host put there.
    if (decision !== 'wait-incoming' || prepared.headPlaced) run.record.judged();
    if (decision === 'wait-incoming') run.record.awaiting();
    run.begin(prepared);
    await run.record.saved();
    if (this.#isUnsure) run.dispatch({ kind: 'unsure' });
    const carried = request.carried && (notice ? 'used' : 'ignored');
    log.info({ uuid, name: request.name, decision, carried }, 'prepared');
    meter?.started(decision);
    feed?.tell({ kind: 'prepared', uuid, decision });
  }

  #refuse(cause: MirrorError): void {
    const { log, meter } = this.#context;
    const { uuid, attention } = this.#run;
    meter?.refused(cause.code);
    attention.raise('plan', cause);
    log.warn({ uuid, code: cause.code }, `start refused: ${cause.message}`);
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
      if ((await running.list()).has(run.uuid)) throw alreadyRunning(run.uuid);
      // Its swtpm alone has ended. Where no QEMU is to be seen, whoever starts it says thereby that it does not run.
      if ((await running.guest(run.uuid)) === 'runs') throw runsWithoutTpm(run.uuid);
      run.dispatch({ kind: 'stopped', reason: 'not-seen-to-stop', handedOver: false });
    }
    run.resume();
    if (run.state.run === 'finishing') run.retry();
    await run.until(
      (state) => state.run !== 'finishing' || isStuck(state) || (state.backoff && isSafe(state)),
      patienceMs,
    );
    run.pause();
    if (!(await run.until(isIdle, untilMs - clock.monotonicMs()))) throw stillFinishing(run.uuid);
    await run.record.saved();
    return run.state.run !== 'finishing' || isLingering(run.state);
  }

  /** The start failed after the volume was claimed: it is released, so that the domain can start elsewhere. */
  async #giveBack(claim: Slot | 'unknown'): Promise<void> {
    const run = this.#run;
    const { published, pending } = run.state;
    if (this.#context.config.placement === 'direct') await this.#context.files.takeLinksAway(run.uuid);
    const hold = holdAfterFailedStart(run.state, claim, run.record.current?.epoch ?? 0);
    run.beginToGiveBack({ hold, published, pending });
    run.dispatch({ kind: 'stopped', reason: START_FAILED, handedOver: false });
  }
}
