/**
 * agent-host: one simulated host: power, hypervisor, and the real agent in one life after another.
 */
import { Supervisor } from '../../src/agent/watch/supervisor.js';
import type { AgentContext } from '../../src/agent/agent-context.js';
import { isSettled, isStuck } from '../../src/agent/domain/settling.js';
import {
  identityOf,
  recogniseHost,
  separateRecord,
  type HostFinding,
  type IdentityRecord,
  type InstanceId,
} from '../../src/model/host-identity.js';
import { parseHostName } from '../../src/model/identifiers.js';
import type { LibtpmsVersion } from '../../src/model/tpm-format.js';
import { parseConfig, type Config } from '../../src/model/config.js';
import { hostIdOf, instanceOf } from '../fixtures/host-identity.js';
import { agentProgram, ChangeEvents, type AgentProgram, type ProgramSurroundings } from './agent-program.js';
import { Arms, type ArmedFault } from './arms.js';
import { EPOCH_MS } from './clock.js';
import { SimulatedLocks } from './domain-locks.js';
import { Hooks, type RunningAgent } from './hooks.js';
import { Hypervisor, type SaveFiles } from './hypervisor.js';
import type { Call, Injection, Injector } from './injection.js';
import { LocalView, STATE_DIRECTORY, SWTPM_DIRECTORY } from './local-view.js';
import type { CrashModel } from './metadata-journal.js';
import type { WatchedHost } from './oracle.js';
import type { SimulatedProcess } from './process.js';
import type { Site } from './site.js';
import { sleep } from '../../src/model/environment.js';
import type { RunClaim } from '../../src/model/run-claim.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { SwtpmVersion, TpmRun } from './tpm.js';
import type { RunningProgram, SimulatedHost } from './world.js';

const LIBTPMS: Readonly<Record<SwtpmVersion, LibtpmsVersion>> = {
  old: { major: 0, minor: 9, text: '0.9.2' },
  current: { major: 0, minor: 10, text: '0.10.0' },
  newer: { major: 0, minor: 12, text: '0.12.0' },
};

export class AgentHost implements WatchedHost {
  readonly name: string;
  readonly local: LocalView;
  readonly events = new ChangeEvents();
  readonly arms: Arms;
  readonly #site: Site;
  readonly #host: SimulatedHost;
  readonly #programs = new Set<SimulatedProcess>();
  /** On its disk, and synced. */
  readonly #saved: SaveFiles = new Map();
  #powerLossListeners: (() => void)[] = [];
  #locks = new SimulatedLocks();
  /** What it is called now, and was called before. */
  #labels: readonly string[];
  #config: Config;
  #identityRecord: IdentityRecord | undefined;
  /** Of the machine that its disk was installed on. */
  #machineId: string;
  #isSpare: boolean;
  /** What is installed; `undefined`: one that writes as every version can read it. */
  swtpm: SwtpmVersion | undefined;
  #boots = 0;
  #bootedAtMs = 0;
  /** The agent was told to end. */
  #isEnding = false;
  #isBlind = false;
  #agentSinceMs = 0;
  #hypervisor: Hypervisor | undefined;
  #agent: (RunningAgent & { readonly program: AgentProgram }) | undefined;

  /** @param at its place among the schedule's hosts */
  constructor(site: Site, host: SimulatedHost, at: number, strike: (fault: ArmedFault) => void) {
    this.name = host.name;
    this.#labels = [host.name];
    this.#machineId = `machine of ${host.name}`;
    const { options } = site.schedule;
    // It has no power until it is made a copy of another host.
    this.#isSpare = options.spare === true && at === options.hosts - 1;
    this.swtpm = options.swtpm?.[at];
    this.local = new LocalView(host.disk.tree.root, site.ledger);
    this.arms = new Arms(strike);
    this.#site = site;
    this.#host = host;
    this.#config = this.#configured(host.name);
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

  get isSpare(): boolean {
    return this.#isSpare;
  }

  /** What it is called in its configuration. */
  get label(): string {
    return this.#labels[0] ?? this.name;
  }

  /** Whether it was ever called so, by itself and not as the copy of another host. */
  wasCalled(label: string): boolean {
    return this.#labels.some((own) => own === label && own.startsWith(this.name));
  }

  /** Whether it was this instance: one boot of this machine. */
  wasInstance(instance: string): boolean {
    return Array.from({ length: this.#boots }, (_, at) => this.#instance(at + 1)).some(
      (own) => own === instance,
    );
  }

  /** Whether its agent has nothing left to do, and knows what runs here. */
  get isAtRest(): boolean {
    if (this.#isSpare) return true;
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
    if (this.#hypervisor || this.#isSpare) return;
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
      swtpm: () => this.swtpm,
      saved: this.#saved,
      start: () => this.#start(false),
      onChange: (uuid) => {
        this.events.changed(uuid);
      },
    });
    this.startAgent();
  }

  startAgent(): void {
    if (this.#agent || !this.isPowered) return;
    const program = this.#open(true);
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

  /** @param to which of its names: 0 for the one that it was installed with */
  rename(to: number): void {
    const label = to === 0 ? this.name : `${this.name}.r${to}`;
    this.#call(label);
  }

  /** The agent starts again under another name. */
  #call(label: string): void {
    const had = this.#agent !== undefined;
    this.killAgent();
    this.#labels = [label, ...this.#labels];
    this.#config = this.#configured(label);
    if (had) this.startAgent();
  }

  /** Starts with an image of another host's disk. */
  becomeCopyOf(original: AgentHost): void {
    this.#isSpare = false;
    this.#host.disk.tree.copyFrom(original.#host.disk.tree);
    this.#identityRecord = original.#identityRecord;
    this.#machineId = original.#machineId;
    this.#labels = [original.label, ...this.#labels];
    this.#config = this.#configured(original.label);
    this.boot();
  }

  /** `swtpm-mirror host separate`, with a name of its own, between two lives of the agent. */
  separate(): void {
    if (this.label === this.name) return;
    const finding = { ...this.#finding(), name: parseHostName(this.name) };
    this.killAgent();
    const id = hostIdOf(`${this.name}, separate`);
    this.#identityRecord = separateRecord(this.#identityRecord, finding, id);
    this.#call(this.name);
    this.startAgent();
  }

  #configured(label: string): Config {
    return parseConfig(this.#site.configOf(label), { hostName: label });
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

  /** A command of somebody's on this host. */
  command(): AgentProgram {
    return this.#open();
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

  get isFull(): boolean {
    return this.#host.disk.tree.capacityBytes === 0;
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

  #open(isAgent = false): AgentProgram {
    return agentProgram(this.#start(true), this.#surroundings(isAgent));
  }

  #surroundings(isAgent: boolean): ProgramSurroundings {
    const site = this.#site;
    const locks = this.#locks;
    return {
      config: this.#config,
      bootId: this.#bootId,
      bootedAtMs: this.#bootedAtMs,
      ...this.#identity(isAgent),
      libtpms: this.swtpm && (() => Promise.resolve(LIBTPMS[this.swtpm ?? 'current'])),
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

  get #bootId(): string {
    return `boot ${this.#boots} of ${this.name}`;
  }

  /** Each boot of a machine is an instance. */
  #instance(boot: number): InstanceId {
    return instanceOf(`${this.name} ${boot}`);
  }

  #finding(): HostFinding {
    const hardware = this.#site.schedule.options.hardware === true ? `hardware of ${this.name}` : '';
    return {
      name: parseHostName(this.label),
      instance: this.#instance(this.#boots),
      machine: { machineId: this.#machineId, hardware, bootId: this.#bootId },
    };
  }

  /** As `IdentityFile.keep` has it: an agent has the last word on what is new. */
  #identity(isAgent: boolean): Pick<ProgramSurroundings, 'identity' | 'names'> {
    const finding = this.#finding();
    const known = this.#identityRecord;
    const { record, news } = recogniseHost(known, finding);
    const isTaken = !known || isAgent || news.kind === 'copied';
    this.#identityRecord = isTaken ? record : { ...known, instances: record.instances };
    return {
      identity: identityOf(record, finding, []),
      names: {
        news,
        left: (names) => {
          const now = this.#identityRecord ?? record;
          this.#identityRecord = { ...now, leaving: now.leaving.filter((name) => !names.includes(name)) };
          return Promise.resolve();
        },
      },
    };
  }

  #log(): AgentContext['log'] {
    const write = (fields: object, message: string): void => {
      this.#site.logged(this.name, fields, message);
    };
    return { debug: () => undefined, info: write, warn: write, error: write };
  }
}
