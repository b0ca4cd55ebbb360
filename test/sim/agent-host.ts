/**
 * agent-host: one simulated host: power, hypervisor, and the real agent in one life after another.
 */
import { Supervisor } from '../../src/agent/watch/supervisor.js';
import type { AgentContext } from '../../src/agent/agent-context.js';
import { isSettled, isStuck } from '../../src/agent/domain/settling.js';
import type { HostIdentity } from '../../src/model/host-identity.js';
import { parseConfig, type Config } from '../../src/model/config.js';
import { hostNamed, instanceOf } from '../fixtures/host-identity.js';
import { agentProgram, ChangeEvents, type AgentProgram, type ProgramSurroundings } from './agent-program.js';
import { Arms, type ArmedFault } from './arms.js';
import { EPOCH_MS } from './clock.js';
import { SimulatedLocks } from './domain-locks.js';
import { Hooks, type RunningAgent } from './hooks.js';
import { Hypervisor } from './hypervisor.js';
import type { Call, Injection, Injector } from './injection.js';
import { LocalView, STATE_DIRECTORY, SWTPM_DIRECTORY } from './local-view.js';
import type { CrashModel } from './metadata-journal.js';
import type { WatchedHost } from './oracle.js';
import type { SimulatedProcess } from './process.js';
import type { Site } from './site.js';
import { sleep } from '../../src/model/environment.js';
import type { RunClaim } from '../../src/model/run-claim.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { TpmRun } from './tpm.js';
import type { RunningProgram, SimulatedHost } from './world.js';

export class AgentHost implements WatchedHost {
  readonly name: string;
  readonly local: LocalView;
  readonly events = new ChangeEvents();
  readonly arms: Arms;
  readonly #site: Site;
  readonly #host: SimulatedHost;
  readonly #config: Config;
  readonly #programs = new Set<SimulatedProcess>();
  #powerLossListeners: (() => void)[] = [];
  #locks = new SimulatedLocks();
  #boots = 0;
  #bootedAtMs = 0;
  /** The agent was told to end. */
  #isEnding = false;
  #isBlind = false;
  #agentSinceMs = 0;
  #hypervisor: Hypervisor | undefined;
  #agent: (RunningAgent & { readonly program: AgentProgram }) | undefined;

  constructor(site: Site, host: SimulatedHost, strike: (fault: ArmedFault) => void) {
    this.name = host.name;
    this.local = new LocalView(host.disk.tree.root, site.ledger);
    this.arms = new Arms(strike);
    this.#site = site;
    this.#host = host;
    this.#config = parseConfig(site.configOf(host.name), { hostName: host.name });
  }

  /** Runs while the host has power. */
  get hypervisor(): Hypervisor | undefined {
    return this.#hypervisor;
  }

  get agent(): RunningAgent | undefined {
    return this.#agent;
  }

  /** Since when the agent has been running, and noticing whatever is written. */
  get noticesSinceMs(): number | undefined {
    const agent = this.#agent;
    if (!agent || this.#isEnding || agent.process.isPaused || this.events.wereLost) return undefined;
    return this.#agentSinceMs;
  }

  get isPowered(): boolean {
    return this.#hypervisor !== undefined;
  }

  /** Whether its agent has nothing left to do, and knows what runs here. */
  get isAtRest(): boolean {
    const hypervisor = this.#hypervisor;
    const agent = this.#agent;
    if (!hypervisor || hypervisor.isWorking || !agent || this.#isEnding) return false;
    const replicators = agent.supervisor.replicators();
    const inUse = replicators.filter(({ state }) => state.run !== 'stopped' && !isStuck(state));
    const running = [...hypervisor.running];
    return (
      replicators.every(({ state }) => (isSettled(state) && state.run !== 'finishing') || isStuck(state)) &&
      inUse.every(({ uuid }) => hypervisor.guests.has(uuid)) &&
      running.every((uuid) => agent.supervisor.find(uuid)?.state.run === 'running') &&
      this.#untoldDeadTpms(hypervisor, agent.supervisor).length === 0
    );
  }

  /** Domains whose swtpm died alone: that is found out by missing it at two looks in a row. */
  #untoldDeadTpms(hypervisor: Hypervisor, supervisor: Supervisor): readonly DomainUuid[] {
    return [...hypervisor.guests].filter((uuid) => {
      const guest = hypervisor.guest(uuid);
      if (!guest || guest.hasTpm || guest.run.toldStartedAtMs === undefined) return false;
      return supervisor.find(uuid)?.state.tpmGone === false;
    });
  }

  runOf(uuid: string): TpmRun | undefined {
    return [...(this.#hypervisor?.guests ?? [])]
      .filter((running) => running === uuid)
      .map((running) => this.#hypervisor?.guest(running)?.run)[0];
  }

  /** Makes the directories that an installation makes, durably. */
  async install(): Promise<void> {
    const { local, process } = this.#host.start();
    for (const path of [STATE_DIRECTORY, SWTPM_DIRECTORY]) {
      let made = '';
      for (const name of path.split('/').filter(Boolean)) {
        made += `/${name}`;
        await local.mkdir('install:mkdir', made, 0o755).catch(() => undefined);
      }
    }
    process.kill();
    this.#host.disk.tree.syncAll();
  }

  boot(): void {
    if (this.#hypervisor) return;
    this.#boots += 1;
    // By the clock that its disk writes times with.
    this.#bootedAtMs = EPOCH_MS + this.#site.nowMs;
    this.#locks = new SimulatedLocks();
    const hooks = new Hooks({ agent: () => this.#agent, open: () => this.#open() });
    this.#hypervisor = new Hypervisor({
      site: this.#site,
      host: this.name,
      hooks,
      random: this.#site.world.random.fork(`hypervisor ${this.name} ${this.#boots}`),
      start: () => this.#start(false),
      onChange: (uuid) => {
        this.events.changed(uuid);
      },
    });
    this.startAgent();
  }

  startAgent(): void {
    if (this.#agent || !this.isPowered) return;
    const program = this.#open();
    const { process, clock } = program.program;
    const supervisor = new Supervisor(program.context, (onDirty) =>
      this.events.source(program.program, onDirty),
    );
    const agent = { process, supervisor, program };
    this.#agent = agent;
    this.#agentSinceMs = this.#site.nowMs;
    this.#isEnding = false;
    process.onEnd(() => {
      if (this.#agent === agent) this.#agent = undefined;
    });
    clock.after(1, () => {
      supervisor.start().catch((error: unknown) => {
        this.#site.told(this.name, 'agent', error);
        process.kill();
      });
    });
  }

  /** SIGTERM: the agent ends by itself. */
  stopAgent(): void {
    const agent = this.#agent;
    if (!agent) return;
    this.#isEnding = true;
    agent.process.run(() => {
      void agent.supervisor
        .close()
        .then(() => agent.program.close())
        .then(() => {
          agent.process.kill();
        });
    });
  }

  killAgent(): void {
    this.#agent?.process.kill();
  }

  /** `swtpm-mirror take-over`. */
  async takeOver(uuid: DomainUuid, force: boolean): Promise<boolean> {
    const { context, program, close } = this.#open();
    const { share, locks, knownShare, config } = context;
    const outcome = await locks.withDomain(uuid, async () =>
      share.claim({
        uuid,
        reason: force ? 'forced' : 'take-over',
        scope: force ? 'forced' : 'expired',
        hostExpiryMs: config.timing.hostExpiryMs,
        revive: true,
        shareId: await knownShare.read(),
      }),
    );
    await close();
    program.process.kill();
    return outcome.kind === 'claimed';
  }

  /** Nothing of this product runs for a while. */
  pause(ms: number): void {
    const paused = [...this.#programs];
    for (const process of paused) process.pause();
    this.#site.world.clock.after(ms, () => {
      this.#noticesAgain();
      for (const process of paused) process.resume();
    });
  }

  resume(): void {
    this.#noticesAgain();
    for (const process of this.#programs) process.resume();
  }

  /** What happened while the agent stood still it finds later. */
  #noticesAgain(): void {
    if (this.#agent?.process.isPaused) this.#agentSinceMs = this.#site.nowMs;
  }

  powerLoss(model?: CrashModel): void {
    if (!this.#hypervisor) return;
    this.#hypervisor = undefined;
    this.#agent = undefined;
    this.#host.powerLoss(model);
    for (const listener of this.#powerLossListeners.splice(0)) listener();
  }

  onPowerLoss(listener: () => void): void {
    this.#powerLossListeners.push(listener);
  }

  /** No state file can be read, or all can again. */
  blind(isBlind: boolean): void {
    this.#isBlind = isBlind;
  }

  /** Takes all space that is left, or gives it back. */
  fill(isFull: boolean): void {
    this.#host.disk.tree.capacityBytes = isFull ? 0 : 2 ** 30;
  }

  #start(isOurs: boolean): RunningProgram {
    const begun: RunningProgram[] = [];
    const armed = this.arms.injector(() => begun[0]);
    const inject: Injector | undefined = isOurs ? (call) => this.#unreadable(call) ?? armed(call) : undefined;
    const options = inject ? { injectLocal: inject, injectShare: inject } : {};
    const program = this.#host.start(options);
    const share = this.#site.shareIsLocal ? program.local : program.share;
    const started = { ...program, share };
    begun.push(started);
    if (isOurs) {
      const { process } = program;
      this.#programs.add(process);
      process.onEnd(() => this.#programs.delete(process));
    }
    return started;
  }

  #unreadable({ site }: Call): Injection | undefined {
    const isRead = this.#isBlind && site.startsWith('read-state:');
    return isRead ? { kind: 'fail', code: 'EIO', executed: false } : undefined;
  }

  #open(): AgentProgram {
    return agentProgram(this.#start(true), this.#surroundings());
  }

  #surroundings(): ProgramSurroundings {
    const site = this.#site;
    const locks = this.#locks;
    return {
      config: this.#config,
      bootId: `boot ${this.#boots}`,
      bootedAtMs: this.#bootedAtMs,
      identity: this.#identity(),
      running: () => this.#hypervisor?.running ?? new Set(),
      takesGuestIn: (uuid) => this.#hypervisor?.guest(uuid)?.run.isIncoming,
      runMetadata: ({ clock, random }) => ({
        write: async (uuid, claim) => {
          await sleep(clock, random.between([1, 400]));
          return this.#leavesClaims && this.#writeRunClaim(uuid, claim);
        },
        close: () => undefined,
      }),
      qemus: () => this.#hypervisor?.guests ?? new Set(),
      guests: () => (this.events.lost ? undefined : this.#hypervisor?.begun),
      inactive: () => (this.events.lost ? undefined : this.#hypervisor?.inactive),
      known: () => (this.events.lost ? undefined : this.#hypervisor?.known),
      locks: (program) => locks.for(program),
      log: this.#log(),
      observe: (share) => site.oracle.observe(this.name, share),
      storage: { start: () => this.#start(true), isReachable: () => site.isReachable(this.name) },
    };
  }

  /** A host whose virsh does not answer leaves none. */
  get #leavesClaims(): boolean {
    const { silent = [] } = this.#site.schedule.options;
    return !silent.includes(this.#site.hosts.indexOf(this));
  }

  #writeRunClaim(uuid: DomainUuid, claim: RunClaim): boolean {
    const guest = this.#hypervisor?.guest(uuid);
    const isWritten = guest?.run.began === true && this.#hypervisor?.setRunClaim(guest, claim) === true;
    if (isWritten) this.#site.coverage.count('claim left with the guest');
    return isWritten;
  }

  /** Each boot is an instance of the host, and it remembers them all. */
  #identity(): HostIdentity {
    const boots = Array.from({ length: this.#boots }, (_, at) => instanceOf(`${this.name} ${at + 1}`));
    const instances = boots.reverse();
    const [instance = instanceOf(this.name)] = instances;
    return hostNamed(this.name, { instance, instances, bootId: `boot ${this.#boots}` });
  }

  #log(): AgentContext['log'] {
    const write = (fields: object, message: string): void => {
      this.#site.logged(this.name, fields, message);
    };
    return { debug: () => undefined, info: write, warn: write, error: write };
  }
}
