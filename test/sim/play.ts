/**
 * play: runs a schedule to its end, then mends everything and expects the site to come to rest: what was owed is stored, and every domain can be stopped
 * and started.
 */
import { isStuck } from '../../src/agent/domain/settling.js';
import { act } from './actions.js';
import type { AgentHost } from './agent-host.js';
import type { Counts } from './coverage.js';
import { EMPTY_LOG, type LogView } from './log-view.js';
import type { Schedule } from './schedule.js';
import { Site, type Domain } from './site.js';
import { resolveByHand } from './operator.js';
import { contains, describeState, isOfNewerFormat, reads, type TpmState } from './tpm.js';
import { Violation, type Guarantee } from './violation.js';

export interface Played {
  readonly violation: Violation | undefined;
  readonly counts: Counts;
  /** Equal for equal schedules. */
  readonly fingerprint: string;
  readonly trace: readonly string[];
}

/** The world goes on in slices, so that a violation ends a schedule soon after it happened. */
const SLICE_MS = 1000;
/** Longer than a host's expiry and every deadline. */
const REST_LEAST_MS = 9000;
/** Longer than anything takes: back-offs, looks at what runs, names that a client believes to be absent. */
const REST_MOST_MS = 76_000;
const JOB_MS = 60_000;
/** What a start may still be refused for when nothing is wrong any more, if the domain has a TPM that was never stored. */
const REFUSED_WITHOUT_HEAD = ['STATE_MISSING', 'STATE_INVALID'];
/** Reasons of claims that no start has made. */
const BY_HAND = ['take-over', 'forced'];
const TRACE_LINES = 20_000;

export async function play(schedule: Schedule): Promise<Played> {
  const site = await Site.open(schedule);
  try {
    await new Play(site).run();
  } catch (error) {
    site.oracle.fail(error instanceof Violation ? error : new Violation('program', describe(error)));
  }
  const { trace } = site.world;
  return {
    violation: site.oracle.violation,
    counts: site.coverage.counts,
    fingerprint: trace.fingerprint,
    trace: site.oracle.violation ? site.traceAtViolation.slice(-TRACE_LINES) : [],
  };
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

class Play {
  readonly #site: Site;

  constructor(site: Site) {
    this.#site = site;
  }

  async run(): Promise<void> {
    const site = this.#site;
    for (const { thenMs, ...action } of site.schedule.steps) {
      site.record('step', action.do, JSON.stringify(action));
      act(site, action);
      await this.#pass(thenMs);
    }
    site.record('step', 'mend', '');
    site.restMs = undefined;
    await this.#rest();
    this.#expectStored();
    for (const host of site.hosts) for (const domain of site.domains) this.#expectAware(host, domain);
    for (const host of site.hosts) for (const domain of site.domains) this.#expectTold(host, domain);
    for (const host of site.hosts) for (const domain of site.domains) await this.#stop(host, domain);
    await this.#pass(SLICE_MS);
    this.#expectStored();
    for (const domain of site.domains) await this.#expectFree(domain);
    for (const domain of site.domains) await this.#restart(domain);
    await this.#pass(SLICE_MS);
  }

  /** Mends everything, and waits until nothing is left to happen, or for as long as anything may take. */
  async #rest(): Promise<void> {
    const site = this.#site;
    const sinceMs = site.nowMs;
    const restedMs = (): number => site.nowMs - sinceMs;
    do {
      // Each time: an agent that was about to end, by a signal, has ended by now.
      site.mend();
      await this.#pass(SLICE_MS);
    } while (restedMs() < REST_LEAST_MS || (restedMs() < REST_MOST_MS && !this.#isAtRest()));
    site.coverage.count(this.#isAtRest() ? 'came to rest' : 'came to no rest');
  }

  #isAtRest(): boolean {
    return this.#site.isAtRest && this.#unstored() === undefined;
  }

  async #pass(durationMs: number): Promise<void> {
    const { world, oracle } = this.#site;
    const untilMs = this.#site.nowMs + durationMs;
    while (this.#site.nowMs < untilMs) {
      await world.pass(Math.min(SLICE_MS, untilMs - this.#site.nowMs));
      this.#judgeRecoveryPoints();
      if (oracle.violation) throw oracle.violation;
    }
    oracle.check();
    if (oracle.violation) throw oracle.violation;
  }

  /** What each host says is on the share, against what its guests really wrote. */
  #judgeRecoveryPoints(): void {
    const { hosts, domains, oracle, nowMs } = this.#site;
    for (const { agent, hypervisor, local, noticesSinceMs } of hosts) {
      if (!agent || noticesSinceMs === undefined) continue;
      for (const { uuid } of domains) {
        const replicator = agent.supervisor.find(uuid);
        const run = hypervisor?.guest(uuid)?.run;
        const toldMs = run?.toldStartedAtMs;
        if (!run || toldMs === undefined || replicator?.state.run !== 'running') continue;
        const pointMs = nowMs - (replicator.lagMs ?? 0);
        oracle.recoveryPointSaid({ run, newest: local.state(uuid), pointMs, noticesSinceMs });
      }
    }
  }

  /** A TPM that died alone is told, and its domain goes on to be held. */
  #expectTold({ name, agent, hypervisor }: AgentHost, domain: Domain): void {
    const guest = hypervisor?.guest(domain.uuid);
    const replicator = agent?.supervisor.find(domain.uuid);
    if (!guest || guest.hasTpm || guest.run.toldStartedAtMs === undefined || !replicator) return;
    const codes = replicator.attention.list().map(({ code }) => code);
    if (replicator.state.run === 'running' && codes.includes('TPM_DEAD')) return;
    const seen = `its swtpm on ${name} died alone; its run is ${replicator.state.run}, told: ${codes.join(' ')}`;
    throw broken('G3', domain, seen);
  }

  async #stop(host: AgentHost, domain: Domain): Promise<void> {
    const { hypervisor } = host;
    if (!hypervisor?.guest(domain.uuid)) return;
    const stopping = hypervisor.stop(domain);
    if (!stopping) throw broken('liveness', domain, `a job on ${host.name} never ends`);
    const stopped = await this.#outcome(stopping, `its stop on ${host.name} was not answered`);
    const code = this.#refusal(host, 'stop');
    const { oracle } = this.#site;
    // Somebody deleted it, or a power loss took it, before anybody had stored it; another TPM may have come up in its place.
    const isLost = code === 'FOREIGN_TPM' && !oracle.share.headState(oracle.share.volume(domain.uuid));
    const isForeignFormat = code === 'STATE_NOT_UNDERSTOOD' && oracle.isNotUnderstood(host.name, domain.uuid);
    const isGone = isLost || isForeignFormat || (code === 'NO_STATE' && !host.local.state(domain.uuid));
    if (!stopped && !isGone) throw broken('liveness', domain, `its stop on ${host.name} failed: ${code}`);
  }

  /** A domain that runs nowhere can be started anywhere: its volume was given up, unless its final state cannot be read or somebody claimed it by hand. */
  async #expectFree(domain: Domain): Promise<void> {
    const sinceMs = this.#site.nowMs;
    while (this.#isHeldInVain(domain)) {
      const { holder, claim } = this.#viewOf(domain);
      const seen = `${String(holder)} holds it in epoch ${String(claim?.slot)}, and it runs nowhere`;
      if (this.#site.nowMs - sinceMs > REST_MOST_MS) throw broken('liveness', domain, seen);
      await this.#pass(SLICE_MS);
    }
  }

  #isHeldInVain(domain: Domain): boolean {
    const { hosts } = this.#site;
    const { holder, claim } = this.#viewOf(domain);
    if (holder === undefined || hosts.some(({ hypervisor }) => hypervisor?.guest(domain.uuid))) return false;
    if (BY_HAND.includes(claim?.reason ?? '') && this.#wasTakenOver(domain)) return false;
    if (this.#isOfFormerIdentity(claim)) return false;
    const replicator = this.#site.host(holder).agent?.supervisor.find(domain.uuid);
    return !(replicator && isStuck(replicator.state));
  }

  /** G3: a host whose domain runs, and who believes to hold the volume, does so: it was told, or has looked, when others may have taken it for dead. */
  #expectAware({ name, agent, hypervisor }: AgentHost, domain: Domain): void {
    const hold = agent?.supervisor.find(domain.uuid)?.state.hold;
    if (hold?.kind !== 'held' || !hypervisor?.guest(domain.uuid)) return;
    // Of what is taken by hand from a host that is alive that host learns much later.
    if (this.#wasTakenOver(domain, true)) return;
    const { holder } = this.#viewOf(domain);
    if (holder === name) return;
    const seen = `${name} believes to hold it in epoch ${hold.epoch}, and ${holder ?? 'nobody'} holds it`;
    throw broken('G3', domain, seen);
  }

  /** Made by a copy of a host under that host's identity, which it has given up since. */
  #isOfFormerIdentity(claim: LogView['claim']): boolean {
    if (!claim || this.#site.schedule.options.spare !== true) return false;
    return !this.#site.host(claim.host).wasCalled(claim.label);
  }

  #viewOf({ uuid }: Domain): LogView {
    return this.#site.oracle.share.volume(uuid)?.view ?? EMPTY_LOG;
  }

  /** Where the log says that it is held, if it is. */
  async #restart(domain: Domain, isSecondTime = false): Promise<void> {
    const { oracle, hosts } = this.#site;
    const { uuid } = domain;
    const { holder, claim } = this.#viewOf(domain);
    // What a copy holds under the identity that it has given up is the original's to take over.
    const isFormer = this.#isOfFormerIdentity(claim);
    const host =
      hosts.find((each) => (isFormer ? each.wasCalled(claim?.label ?? '') : each.name === holder)) ??
      hosts[0];
    const head = oracle.share.headState(oracle.share.volume(uuid));
    const starting = host?.hypervisor?.start(domain, { pastHook: false, fails: false });
    if (!host || !starting) throw broken('liveness', domain, 'it cannot be started: a job on it never ends');
    if (await this.#outcome(starting, `its start on ${host.name} was not answered`)) {
      const loaded = host.hypervisor?.guest(uuid)?.state;
      if (head && !(loaded && contains(loaded, head))) {
        throw broken(
          'G4',
          domain,
          `${host.name} started from ${describeState(loaded)}, the head is ${describeState(head)}`,
        );
      }
      await this.#stop(host, domain);
      return;
    }
    const code = this.#refusal(host, 'prepare');
    if (code === 'STATE_PLACED' && oracle.placedOn(host.name, uuid)) {
      await this.#restartWithout(host, domain);
      return;
    }
    this.#site.coverage.count(`refused at last: ${code}`);
    // A beat of its former boot that arrives late looks like one of a copy, for an expiry.
    if (code === 'HOST_DOUBLED' && !isSecondTime) {
      await this.#pass(REST_LEAST_MS);
      await this.#restart(domain, true);
      return;
    }
    if (head && this.#isChoiceOfTheOperator(host, domain, head, code)) {
      await this.#resolveAndRestart(host, domain);
      return;
    }
    const isExcused = head
      ? this.#isTooNew(host, head, code)
      : this.#mayBeRefusedWithoutHead(host, domain, code);
    if (!isExcused) {
      throw broken('liveness', domain, `its start on ${host.name} is refused although all is well: ${code}`);
    }
  }

  /** Nothing was ever stored, and nobody can say what the domain should go on with. */
  #mayBeRefusedWithoutHead({ name }: AgentHost, domain: Domain, code: string): boolean {
    const { oracle, ledger } = this.#site;
    const { uuid } = domain;
    if (code === 'STATE_NOT_UNDERSTOOD' || code === 'STATE_NOT_STORED') {
      return oracle.isNotUnderstood(name, uuid) || oracle.wasUnstored(name, uuid);
    }
    const isUnknown = ledger.knows(uuid) || this.#wasTakenOver(domain) || isAbandoned(this.#viewOf(domain));
    return REFUSED_WITHOUT_HEAD.includes(code) && isUnknown;
  }

  /** The operator chooses the head, and that is what every refusal says may be done; what lies here is kept. */
  async #resolveAndRestart(host: AgentHost, domain: Domain): Promise<void> {
    const resolving = resolveByHand(this.#site, host, domain, 'head');
    if (!resolving) throw broken('liveness', domain, `a job on ${host.name} never ends`);
    if (!(await this.#outcome(resolving, `the choice of its state on ${host.name} was not answered`))) {
      const code = this.#site.lastRefusal.get(`${host.name} resolve`) ?? 'no reason';
      throw broken('liveness', domain, `the choice of the head on ${host.name} is refused: ${code}`);
    }
    await this.#restart(domain);
  }

  /** Its swtpm cannot read what another host's has made. */
  #isTooNew({ swtpm = 'current' }: AgentHost, head: TpmState, code: string): boolean {
    return code === 'LIBTPMS_TOO_OLD' && !reads(swtpm, head);
  }

  /** The operator puts aside what somebody placed. */
  async #restartWithout({ name, hypervisor }: AgentHost, domain: Domain): Promise<void> {
    this.#site.coverage.count('placed state refused, and put aside');
    const removing = hypervisor?.job(domain, async () => {
      await hypervisor.deleteDirectory(domain);
      return true;
    });
    if (!removing) throw broken('liveness', domain, `a job on ${name} never ends`);
    await this.#outcome(removing, `its directory on ${name} could not be removed`);
    await this.#restart(domain);
  }

  /**
   * What lies there is another TPM than the head's; or a run changed it that was past the hook, and over
   * before anybody saw it: that may as well be a copy that somebody put there. One that was seen is a generation.
   */
  #isChoiceOfTheOperator(host: AgentHost, { uuid }: Domain, head: TpmState, code: string): boolean {
    if (code === 'STATE_NOT_STORED') return this.#site.oracle.wasUnstored(host.name, uuid);
    if (code === 'STATE_NOT_UNDERSTOOD') return isOfNewerFormat(host.local.permall(uuid));
    const state = host.local.state(uuid);
    // A final state that nobody could read, and whose files are gone.
    if (!state) return code === 'STATE_NOT_STORED' && this.#wasBlind(host);
    if (code === 'FOREIGN_TPM') return state.tpm !== head.tpm;
    const isUnseen = state.run.isPastHook && !this.#site.oracle.wasPublished(uuid, state);
    return code === 'STATE_PLACED' && (isUnseen || this.#site.oracle.wasResolved(host.name, uuid));
  }

  #wasBlind(host: AgentHost): boolean {
    const at = this.#site.hosts.indexOf(host);
    return this.#site.schedule.steps.some((step) => step.do === 'blind' && step.host === at);
  }

  /** By somebody's hand: nobody knows then whether its last holder had a TPM. */
  #wasTakenOver({ uuid }: Domain, byForce = false): boolean {
    const at = this.#site.domains.findIndex((domain) => domain.uuid === uuid);
    return this.#site.schedule.steps.some(
      (step) => step.do === 'take-over' && step.domain === at && (step.force || !byForce),
    );
  }

  #refusal({ name }: AgentHost, call: 'prepare' | 'stop'): string {
    return this.#site.lastRefusal.get(`${name} ${call}`) ?? 'no reason';
  }

  async #outcome<T>(promise: Promise<T>, otherwise: string): Promise<T> {
    const { world, oracle } = this.#site;
    const result = await world.outcome(promise, JOB_MS).catch((error: unknown) => {
      throw oracle.violation ?? new Violation('liveness', `${otherwise}: ${describe(error)}`);
    });
    if (oracle.violation) throw oracle.violation;
    return result;
  }

  /** G5: when all is well again, nothing that a host knows of lies on its own disk alone. */
  #expectStored(): void {
    const left = this.#unstored();
    if (!left) return;
    throw broken('G5', left.domain, `${describeState(left.state)} lies on the disk of ${left.host} alone`);
  }

  #unstored(): { readonly host: string; readonly domain: Domain; readonly state: TpmState } | undefined {
    const { hosts, domains, oracle } = this.#site;
    for (const { name, local } of hosts) {
      for (const domain of domains) {
        const state = local.state(domain.uuid);
        if (state?.run.toldStartedAtMs === undefined || state.run.host !== name) continue;
        // It went on on another host.
        if (state.run.handedOver || oracle.wasDeletedByHand(state) || state.format === 'newer') continue;
        if (!oracle.isStored(name, domain.uuid, state)) return { host: name, domain, state };
      }
    }
    return undefined;
  }
}

/** Whether a holder lost it, under whatever name, to another before it had stored anything: nobody knows what ran there. */
function isAbandoned({ run }: LogView): boolean {
  return run.some((entry, at) => {
    const next = run.slice(at + 1).find(({ kind }) => kind !== 'publish');
    const isLost = entry.kind === 'claim' && next?.kind === 'claim';
    return isLost && (next.host !== entry.host || next.label !== entry.label);
  });
}

function broken(guarantee: Guarantee, { uuid }: Domain, what: string): Violation {
  return new Violation(guarantee, `domain ${uuid.slice(0, 8)}: ${what}`);
}
