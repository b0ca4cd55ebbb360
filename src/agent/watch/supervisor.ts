/**
 * supervisor: all domains of this host.
 *
 * It starts from the journal (what a former run of this program held) and from what is seen to run, hands calls and changes to each
 * domain's replicator, and rescans all of them from time to time, because file events can be lost.
 *
 * I1 A domain that runs here has a replicator within one rescan, whatever was missed: its hook, its events, or an agent.
 */
import { isAtRest } from '../../host/journal-record.js';
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { RunState } from '../../model/lifecycle-state.js';
import { START_FAILED } from '../../model/log-entry.js';
import { AbandonedStarts } from './abandoned-starts.js';
import type { AgentContext, ChangeSource } from '../agent-context.js';
import { Arrivals } from './arrivals.js';
import { toAttention, type Attention } from '../attention.js';
import { initialiseDefaultShare } from '../share/default-share.js';
import { Census } from './census.js';
import { Definitions } from './definitions.js';
import { DomainEvents } from './domain-events.js';
import type { DomainFacts } from '../domain-place.js';
import type { LeftOut } from '../left-out.js';
import { HostNotices } from './host-notices.js';
import { HostNames } from '../share/host-names.js';
import { Introductions } from './introductions.js';
import { sweepLinks } from './link-sweep.js';
import { LiveWatch } from './live-watch.js';
import type { StopOutcome } from '../domain/ending.js';
import type { Replicator } from '../domain/replicator.js';
import { Replicators } from './replicators.js';
import { ShareHealth, type ShareHealthReport } from '../share/share-health.js';
import type { Prepared, StartRequest } from '../start/prepared.js';
import { expectSavedIsNewest } from '../start/saved-state.js';
import { Rescan } from './rescan.js';
import { Pulse } from '../pulse.js';
import { WrittenRunClaims } from './run-claims.js';
import { fateOf } from './run-end.js';
import { Sightings } from './sightings.js';

/** What was defined is asked for at one look in so many: an event tells it at once, and a virsh takes longer than all else that a look does. */
const LOOKS_A_DEFINITION = 10;

export class Supervisor {
  readonly #context: AgentContext;
  readonly #changes: ChangeSource;
  readonly #health: ShareHealth;
  readonly #arrivals: Arrivals;
  readonly #domains: Replicators;
  readonly #sightings: Sightings;
  readonly #abandoned: AbandonedStarts;
  /** Of a former run of this program, and not taken up yet. */
  readonly #left = new Set<DomainUuid>();
  readonly #notices = new HostNotices();
  readonly #definitions: Definitions;
  readonly #events: DomainEvents;
  readonly #runClaims: WrittenRunClaims;
  readonly #census: Census;
  readonly #pulse: Pulse;
  readonly #rescan: Rescan;
  readonly #names: HostNames;
  #looks = 0;
  #ready: Promise<void> = Promise.resolve();

  constructor(context: AgentContext, changes: (onDirty: (uuid: DomainUuid) => void) => ChangeSource) {
    this.#context = context;
    this.#runClaims = new WrittenRunClaims(context);
    this.#pulse = new Pulse(context.clock);
    this.#domains = new Replicators({ ...context, runClaims: this.#runClaims, pulse: this.#pulse });
    this.#names = new HostNames(context);
    const markDirty = (uuid: DomainUuid): void => {
      this.find(uuid)?.changed();
    };
    this.#changes = new LiveWatch(context, changes(markDirty), markDirty);
    this.#definitions = new Definitions(context, this.#notices);
    const introductions = new Introductions(context);
    this.#sightings = new Sightings(context, {
      runOf: (uuid) => this.find(uuid)?.state.run,
      factsOf: (uuid) => introductions.factsOf(uuid),
      takeUp: (uuid, facts) => this.#begin(uuid, facts).catch(this.#report(uuid)),
      fateOf: (uuid) => fateOf(context, uuid, this.find(uuid)?.isByHook ?? false),
      hasGone: (uuid) => void this.stopped(uuid, 'not-seen-to-stop').catch(this.#report(uuid)),
      hasLostTpm: (uuid, fate) => this.find(uuid)?.lostTpm(fate),
      hasTpm: (uuid) => this.find(uuid)?.hasTpm(),
    });
    this.#abandoned = new AbandonedStarts(context, {
      prepared: () =>
        new Map(this.#replicatorsIn('prepared').map((one) => [one.uuid, { byHook: one.isByHook }])),
      abandoned: (uuid) => void this.stopped(uuid, START_FAILED).catch(this.#report(uuid)),
    });
    this.#census = new Census(context, {
      isLookedAfter: (uuid) => (this.find(uuid)?.state.run ?? 'stopped') !== 'stopped',
      leftOut: (uuid, why) => {
        this.leftOut(uuid, why);
      },
      takeUp: (uuid, facts) => this.#begin(uuid, facts).catch(this.#report(uuid)),
    });
    this.#events = new DomainEvents(context, () => this.#heard());
    this.#arrivals = new Arrivals(context, {
      expected: () => this.#replicatorsIn('incoming').map(({ uuid }) => uuid),
      onArrival: (uuid) => this.#arrived(uuid),
    });
    this.#rescan = new Rescan(context, { domains: () => this.replicators(), look: () => this.#look() });
    this.#health = new ShareHealth(context, {
      returned: () => {
        for (const replicator of this.replicators()) replicator.retry();
      },
      lost: () => {
        for (const replicator of this.replicators()) replicator.hurry();
      },
      unheard: () => {
        for (const replicator of this.replicators()) replicator.confirmClaim();
      },
    });
  }

  /**
   * Resolves when every domain of a former run is taken up again and the share was asked once. Calls for domains wait for the first
   * alone: a share that hangs holds up no stop.
   */
  async start(): Promise<void> {
    this.#pulse.begin();
    const initialised = initialiseDefaultShare(this.#context);
    this.#ready = initialised.then(() => this.#takeUpAll());
    await Promise.all([this.#ready, initialised.then(() => this.#health.start())]);
  }

  async #takeUpAll(): Promise<void> {
    const { journal, log } = this.#context;
    const news = this.#names.news();
    if (news) this.#notices.note(news);
    const { records, damaged } = await journal.list();
    for (const error of damaged) {
      log.error({ code: error.code }, error.message);
      this.#notices.note(error);
    }
    const live = records.filter((record) => !isAtRest(record) || record.fenced !== null);
    for (const { uuid } of live) this.#left.add(uuid);
    await this.#takeUpLeft();
    // What runs by now was started before there was an agent, and may be from before there was a hook.
    await this.#sightings.look(() => undefined);
    for (const { uuid, phase, bootId } of live) {
      if (phase === 'prepared' && bootId !== this.#context.bootId) this.#endInterrupted(uuid);
    }
    await this.#definitions.recall();
    await sweepLinks(this.#context, this.#notices).catch((error: unknown) => {
      this.#notices.note(asMirrorError(error));
    });
    this.#rescan.begin();
    this.#arrivals.watch();
    this.#events.follow();
    void this.#definitions.look();
    void this.#census.take();
    void this.#keepReserve();
  }

  /**
   * This host went down between a start's preparation and its end: no hook is to come. The volume is given back, so that the domain can start elsewhere;
   * what may have been written meanwhile stays where it is, and the next start here judges it.
   */
  #endInterrupted(uuid: DomainUuid): void {
    const ending = this.#sightings.has(uuid) ? this.#begin(uuid, {}) : this.stopped(uuid, 'host-restarted');
    void ending.catch(this.#report(uuid));
  }

  health(): ShareHealthReport {
    return this.#health.report();
  }

  /** Domains of this host that have a TPM and are not looked after. */
  leftOutDomains(): readonly LeftOut[] {
    return this.#notices.leftOutDomains();
  }

  /** @param why `undefined`: that is over */
  leftOut(uuid: DomainUuid, why: LeftOut | undefined): void {
    if (this.#notices.leftOut(uuid, why) && why) {
      const { name, why: reason, isAskedFor } = why;
      const text = isAskedFor ? 'left alone, as it asks' : 'its TPM is stored nowhere';
      this.#context.log[isAskedFor ? 'info' : 'warn']({ uuid, name, reason, code: 'UNPROTECTED' }, text);
    }
  }

  /** What concerns no single domain. */
  attention(): readonly Attention[] {
    const trouble = this.#changes.trouble?.();
    return [...this.#notices.list(), ...(trouble ? [toAttention(trouble)] : [])];
  }

  /** A domain is about to start whose definition has no TPM: what is stored of it stays. */
  withoutTpm(uuid: DomainUuid, name: string): void {
    void this.#definitions.withoutTpm(uuid, name);
  }

  /** @param caller the process that ran libvirt's hook, as that says */
  hookCalled(caller: string | undefined): void {
    void this.#context.hookEvidence?.note(caller);
  }

  replicators(): Replicator[] {
    return this.#domains.all();
  }

  find(uuid: DomainUuid): Replicator | undefined {
    return this.#domains.find(uuid);
  }

  /** A domain is about to be restored from a save file. @throws MirrorError `STATE_BEHIND` */
  restoring(uuid: DomainUuid, claim: RunClaim | undefined): Promise<void> {
    return expectSavedIsNewest(this.#context, uuid, claim);
  }

  async prepare(uuid: DomainUuid, request: StartRequest): Promise<Prepared> {
    await this.#ready;
    this.#said(uuid);
    this.#notices.announced();
    this.#definitions.withTpm(uuid);
    const replicator = await this.#take(uuid);
    const prepared = await replicator.prepare(request);
    this.#notices.clear('linked', uuid);
    await this.#changes.watch(replicator.place);
    this.#arrivals.watch();
    return prepared;
  }

  async started(uuid: DomainUuid, facts: DomainFacts = {}): Promise<void> {
    await this.#ready;
    await this.#begin(uuid, facts);
  }

  /** An ordinary VM that was started in place of the migration that was announced runs, too, until its hook has ended it. */
  async #arrived(uuid: DomainUuid): Promise<void> {
    const { running } = this.#context;
    const takesGuestIn = await running.takesGuestIn(uuid);
    // Without a QEMU to be seen: one that is called otherwise, or one that has just been ended.
    const isThere = takesGuestIn ?? (await running.list()).has(uuid);
    if (isThere) await this.started(uuid);
  }

  async #begin(uuid: DomainUuid, facts: DomainFacts): Promise<void> {
    await (await this.#meet(uuid, facts)).started();
    await this.#sightings.confirm(uuid);
  }

  /** The domain's processes run; an incoming domain stays one. */
  async launched(uuid: DomainUuid, facts: DomainFacts): Promise<void> {
    await this.#ready;
    await (await this.#meet(uuid, facts)).launched();
    // A start that takes a guest in is a migration's only from here on.
    this.#arrivals.watch();
    await this.#sightings.confirm(uuid);
  }

  async #meet(uuid: DomainUuid, facts: DomainFacts): Promise<Replicator> {
    const replicator = await this.#take(uuid);
    replicator.learn(facts);
    await this.#changes.watch(replicator.place);
    return replicator;
  }

  async stopped(uuid: DomainUuid, reason: string): Promise<StopOutcome> {
    await this.#ready;
    this.#said(uuid);
    const replicator = await this.#take(uuid);
    const stopping = replicator.stopped(reason);
    if (this.#health.isAway) replicator.hurry();
    const outcome = await stopping;
    await this.#changes.unwatch(uuid);
    return outcome;
  }

  async captureNow(uuid: DomainUuid): Promise<number> {
    const replicator = this.find(uuid);
    if (!replicator) {
      throw new MirrorError('NO_SUCH_DOMAIN', `${uuid} is not running on this host`, {
        next: 'see the domains of this host with `swtpm-mirror status`',
      });
    }
    return await replicator.captureNow();
  }

  /**
   * Lets go of a domain that has stopped, so that what this host remembers of it can be removed.
   *
   * @throws MirrorError `DOMAIN_RUNNING` when it has not, or when its start is being prepared
   */
  async dismiss(uuid: DomainUuid): Promise<void> {
    await this.#ready;
    const replicator = this.#domains.letGo(uuid);
    if (!replicator) return;
    await this.#changes.unwatch(uuid);
    await replicator.close();
  }

  /** Ends cleanly: running domains stay held, and what they have is on the share or in the spool. A host that holds nothing says goodbye. */
  async close(): Promise<void> {
    this.#rescan.close();
    this.#events.close();
    this.#arrivals.close();
    this.#runClaims.close();
    await this.#changes.close();
    await Promise.all(
      this.replicators().map((replicator) => replicator.settled().catch(this.#report(replicator.uuid))),
    );
    await Promise.all(
      this.replicators().map((replicator) => replicator.close().catch(this.#report(replicator.uuid))),
    );
    this.#health.close();
    this.#pulse.close();
    if (this.#holdsNothing()) await this.#health.leave();
  }

  #holdsNothing(): boolean {
    return (
      this.#left.size === 0 &&
      this.replicators().every(({ state: { hold } }) => hold.kind === 'none' || hold.kind === 'fenced')
    );
  }

  /** Whether every claim that this host holds was made by this run of the program. */
  #hasClaimedAnew(): boolean {
    const isNew = ({ state: { hold } }: Replicator): boolean =>
      hold.kind === 'none' || hold.kind === 'held' || (hold.kind === 'fenced' && hold.claimed === undefined);
    return this.#left.size === 0 && this.replicators().every(isNew);
  }

  /** What is to be seen of a domain proves nothing when somebody says what becomes of it. */
  #said(uuid: DomainUuid): void {
    this.#sightings.forget(uuid);
    this.#abandoned.forget(uuid);
  }

  #replicatorsIn(run: RunState): Replicator[] {
    return this.replicators().filter(({ state }) => state.run === run);
  }

  /** The domain's replicator, taken up if need be. */
  #take(uuid: DomainUuid): Promise<Replicator> {
    return this.#domains.take(uuid, async ({ state, place }) => {
      if (state.run !== 'stopped') await this.#changes.watch(place);
    });
  }

  /** One that another process works on just now is tried again with the next look. */
  async #takeUpLeft(): Promise<void> {
    const takeUp = async (uuid: DomainUuid): Promise<void> => {
      const { state } = await this.#take(uuid);
      this.#left.delete(uuid);
      // It may have died with the former run of this program, or with the whole host.
      if (state.run === 'running') this.#sightings.remember(uuid);
    };
    await Promise.all([...this.#left].map((uuid) => takeUp(uuid).catch(this.#report(uuid))));
  }

  /** Something happened to some domain of libvirt's: what a rescan would find is looked for now. */
  async #heard(): Promise<void> {
    this.#arrivals.lookNow();
    await this.#sightings.lookForNew((uuid) => {
      this.#notices.unannounced(uuid);
    });
    await this.#definitions.look();
    await this.#census.take();
  }

  async #look(): Promise<void> {
    void this.#takeUpLeft();
    await this.#sightings.look((uuid) => {
      this.#notices.unannounced(uuid);
    });
    this.#looks += 1;
    if (this.#looks % LOOKS_A_DEFINITION === 0) {
      void this.#definitions.look();
      void this.#census.take();
    }
    await this.#abandoned.look();
    await this.#watchAnew();
    if (this.#hasClaimedAnew()) void this.#names.leave();
    void this.#keepReserve();
  }

  /** What could not be watched is tried again: it may be possible by now, and while it is not, that is told. */
  async #watchAnew(): Promise<void> {
    if (this.#changes.trouble?.() === undefined) return;
    const inUse = this.replicators().filter(({ state }) => state.run !== 'stopped');
    await Promise.all(inUse.map(({ place }) => this.#changes.watch(place)));
  }

  async #keepReserve(): Promise<void> {
    const { reserve, log } = this.#context;
    await reserve?.keep().catch((error: unknown) => {
      const { code, message } = asMirrorError(error);
      log.warn({ code }, message);
    });
  }

  #report(uuid: DomainUuid): (error: unknown) => void {
    return (error) => {
      const { code, message } = asMirrorError(error);
      this.#context.log.error({ uuid, code }, message);
    };
  }
}
