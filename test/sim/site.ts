/**
 * site: everything that one schedule plays with: the world, its hosts and domains, the ledger of their TPMs, and the oracle that watches them.
 */
import { hostNamed } from '../fixtures/host-identity.js';
import { asMirrorError } from '../../src/model/errors.js';
import { parseDomainUuid, type DomainUuid } from '../../src/model/identifiers.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import { AgentHost } from './agent-host.js';
import type { ArmedFault } from './arms.js';
import { EPOCH_MS } from './clock.js';
import { Coverage } from './coverage.js';
import { CALM, HOSTILE, ROUGH, type FaultProfile } from './fault-profile.js';
import type { Inode } from './inode.js';
import { STATE_DIRECTORY, SWTPM_DIRECTORY } from './local-view.js';
import { Oracle } from './oracle.js';
import type { Range } from './random.js';
import type { Schedule } from './schedule.js';
import { TpmLedger, type TpmRun } from './tpm.js';
import { Violation } from './violation.js';
import { SimulatedWorld } from './world.js';

export interface Domain {
  readonly uuid: DomainUuid;
  readonly transient: boolean;
  /** Path of its firmware's variables on each host. */
  readonly nvram: string | undefined;
}

const NVRAM_DIRECTORY = '/var/lib/libvirt/nvram';
const HOST_NAMES = ['kvm-a', 'kvm-b', 'kvm-c', 'kvm-d'];
const UUIDS = ['6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d', '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c'].map(
  parseDomainUuid,
);
const PROFILES: Readonly<Record<Schedule['options']['roughness'], FaultProfile>> = {
  calm: CALM,
  rough: ROUGH,
  hostile: HOSTILE,
};
const SHARE = '/share';
const SOFT_TIMEOUT_MS = 3000;
export const HEARTBEAT_MS = 2500;
const HOST_EXPIRY_MS = 8000;
/** Between two changes that a guest makes by itself. */
const REST_MS: Range = [1000, 15_000];

export class Site {
  readonly schedule: Schedule;
  readonly world: SimulatedWorld;
  readonly ledger = new TpmLedger();
  readonly coverage = new Coverage();
  readonly oracle: Oracle;
  readonly hosts: readonly AgentHost[];
  readonly domains: readonly Domain[];
  /** How long guests rest between two changes of their own; `undefined` when they make none any more. */
  restMs: Range | undefined = REST_MS;
  /** Code of the last failure, by host and call. */
  readonly lastRefusal = new Map<string, string>();
  traceAtViolation: readonly string[] = [];
  readonly #unreachable = new Map<string, number>();
  #double: { readonly original: AgentHost; readonly copy: AgentHost } | undefined;
  #serverIsDown = false;
  #runs = 0;

  private constructor(schedule: Schedule) {
    const { options } = schedule;
    this.schedule = schedule;
    const names = HOST_NAMES.slice(0, options.hosts);
    const soft = options.soft.map((host) => [names[host] ?? '', SOFT_TIMEOUT_MS]);
    this.world = new SimulatedWorld(schedule.seed, {
      softTimeoutMs: Object.fromEntries(soft),
      times: options.times,
    });
    this.domains = options.transient.map((transient, at) => {
      const uuid = UUIDS[at]!;
      return { uuid, transient, nvram: options.nvram ? `${NVRAM_DIRECTORY}/${uuid}.fd` : undefined };
    });
    this.hosts = names.map((name, at) => {
      return new AgentHost(this, this.world.host(name), at, (fault) => {
        this.#strike(name, fault);
      });
    });
    this.world.nfs.server.onRequest = (host, name) => {
      if (name === 'WRITE') this.oracle.wrote(host);
    };
    const [first] = names;
    this.oracle = new Oracle({
      tree: this.shareIsLocal ? this.world.host(first ?? '').disk.tree : this.world.nfs.server.tree,
      shareRoot: this.shareIsLocal ? `${STATE_DIRECTORY}/share` : SHARE,
      ledger: this.ledger,
      coverage: this.coverage,
      nowMs: () => this.nowMs,
      host: (name) => this.host(name),
      machineOf: (label, instance) => this.#machineOf(label, instance),
      isDoubled: (name) => this.isDoubled(name),
      hostExpiryMs: HOST_EXPIRY_MS,
      onViolation: ({ message }) => {
        this.record('oracle', 'violation', message);
        this.traceAtViolation = this.world.trace.toString().split('\n');
      },
    });
  }

  /** A share that was initialised, and hosts that run. */
  static async open(schedule: Schedule): Promise<Site> {
    const site = new Site(schedule);
    const opening = site.#install();
    await site.world.outcome(opening);
    site.world.nfs.faults = PROFILES[schedule.options.roughness];
    for (const host of site.hosts) host.boot();
    return site;
  }

  get nowMs(): number {
    return this.world.clock.nowMs;
  }

  get shareIsLocal(): boolean {
    return this.schedule.options.share === 'local';
  }

  host(name: string): AgentHost {
    const host = this.hosts.find((candidate) => candidate.name === name);
    if (!host) throw new RangeError(`there is no host ${name}`);
    return host;
  }

  /** Which machine an entry of a log is by: an instance is one boot of one machine, and a name is somebody's own. */
  #machineOf(label: string, instance: string | undefined): string {
    const byInstance = this.hosts.find((host) => instance !== undefined && host.wasInstance(instance));
    return (byInstance ?? this.hosts.find((host) => host.wasCalled(label)))?.name ?? label;
  }

  /** The one whose disk was copied, and the copy. */
  get double(): { readonly original: AgentHost; readonly copy: AgentHost } | undefined {
    return this.#double;
  }

  /** Whether another machine lives, or may, under the same identity. */
  isDoubled(name: string): boolean {
    const { original, copy } = this.#double ?? {};
    return original?.name === name || copy?.name === name;
  }

  /** The spare machine starts with an image of this host's disk. */
  clone(original: AgentHost): void {
    const copy = this.hosts.find(({ isSpare }) => isSpare);
    if (!copy || original === copy) return;
    this.coverage.count('host doubled');
    copy.becomeCopyOf(original);
    this.#double = { original, copy };
  }

  /** The operator gives the copy an identity of its own. */
  separate(): void {
    if (!this.#double) return;
    this.coverage.count('host separated from its copy');
    this.#double.copy.separate();
    this.#double = undefined;
  }

  setBeatAhead({ label }: AgentHost, ms: number): void {
    const { tree } = this.world.nfs.server;
    let at: Inode | undefined = tree.root;
    for (const name of [...SHARE.split('/').filter(Boolean), 'hosts', label, 'heartbeat']) {
      at = at?.kind === 'directory' ? at.entries.get(name) : undefined;
    }
    if (!at) return;
    this.coverage.count('heartbeat set into the future');
    at.mtimeNs = BigInt(EPOCH_MS + Math.round(this.nowMs + ms)) * 1_000_000n;
    at.change += 1;
  }

  domain(uuid: DomainUuid): Domain {
    const domain = this.domains.find((candidate) => candidate.uuid === uuid);
    if (!domain) throw new RangeError(`there is no domain ${uuid}`);
    return domain;
  }

  newRun(
    uuid: DomainUuid,
    host: string,
    { isKnown, isPastHook, isIncoming }: Pick<TpmRun, 'isKnown' | 'isPastHook' | 'isIncoming'>,
  ): TpmRun {
    this.#runs += 1;
    this.oracle.forgetPlaced(host, uuid);
    return {
      number: this.#runs,
      uuid,
      host,
      began: false,
      handedOver: false,
      toldStartedAtMs: undefined,
      isKnown,
      isPastHook,
      isIncoming,
    };
  }

  /** Short timings: what matters is their order. */
  configOf(host: string): string {
    const { withoutShare, takeOver, retention, nvram = false } = this.schedule.options;
    return `
      host = "${host}"
      ${this.shareIsLocal ? '' : `share = "${SHARE}"`}
      state_dir = "${STATE_DIRECTORY}"
      [libvirt]
      swtpm_dir = "${SWTPM_DIRECTORY}"
      nvram = ${String(nvram)}
      [timing]
      heartbeat = "${HEARTBEAT_MS}ms"
      host_expiry = "${HOST_EXPIRY_MS}ms"
      share_deadline = "2s"
      start_deadline = "6s"
      stop_deadline = "4s"
      rescan = "12s"
      retry_max = "3s"
      [start]
      without_share = "${withoutShare}"
      take_over = "${takeOver}"
      [retention]
      generations = ${retention}`;
  }

  isReachable(host: string): boolean {
    return !this.#serverIsDown && !this.#unreachable.has(host);
  }

  partition(host: string, ms: number): void {
    this.coverage.count('fault: partition');
    const untilMs = Math.max(this.#unreachable.get(host) ?? 0, this.nowMs + ms);
    this.#unreachable.set(host, untilMs);
    this.world.nfs.partition(host);
    this.world.clock.after(ms, () => {
      if (this.nowMs >= (this.#unreachable.get(host) ?? Infinity)) this.#heal(host);
    });
  }

  #heal(host: string): void {
    this.#unreachable.delete(host);
    this.world.nfs.heal(host);
  }

  /** Ends every fault: from here on nothing goes wrong any more, and what was held up arrives. */
  mend(): void {
    this.world.nfs.faults = CALM;
    this.world.nfs.hasten();
    this.fillShare(false);
    if (this.#serverIsDown) this.#restartServer(0);
    for (const host of [...this.#unreachable.keys()]) this.#heal(host);
    this.separate();
    for (const host of this.hosts) {
      host.arms.clear();
      host.fill(false);
      host.blind(false);
      host.events.lost = false;
      host.resume();
      host.boot();
      host.startAgent();
    }
  }

  /** Whether nothing is left to happen but what happens for ever: heartbeats and looks. */
  get isAtRest(): boolean {
    return !this.world.nfs.isBusy && this.hosts.every((host) => host.isAtRest);
  }

  #restartServer(graceMs: number): void {
    if (!this.#serverIsDown) return;
    this.#serverIsDown = false;
    this.world.nfs.restartServer(graceMs);
  }

  crashServer(downMs: number, graceMs: number): void {
    if (this.#serverIsDown || this.shareIsLocal) return;
    this.coverage.count('fault: server crash');
    this.#serverIsDown = true;
    this.world.nfs.crashServer();
    this.oracle.crashed();
    this.world.clock.after(downMs, () => {
      this.#restartServer(graceMs);
    });
  }

  powerLoss(host: AgentHost, downMs: number): void {
    if (!host.isPowered) return;
    this.coverage.count('fault: power loss');
    host.powerLoss();
    for (const { uuid } of this.domains) this.oracle.lostPower(host.name, uuid);
    if (this.shareIsLocal) this.oracle.crashed();
    else this.oracle.check();
    this.world.clock.after(downMs, () => {
      host.boot();
    });
  }

  fillShare(isFull: boolean): void {
    if (!this.shareIsLocal) this.world.nfs.server.tree.capacityBytes = isFull ? 0 : 2 ** 30;
  }

  /** A call failed on a host: a refusal, or worse. */
  told(host: string, call: string, error: unknown): void {
    const { code, message } = asMirrorError(error);
    this.lastRefusal.set(`${host} ${call}`, code);
    this.coverage.count(`refused, ${call}: ${code}`);
    this.record(host, call, `${code}: ${message}`);
    if (code === 'INTERNAL') this.oracle.fail(new Violation('program', `${call} on ${host}: ${message}`));
  }

  logged(host: string, fields: object, message: string): void {
    const code = 'code' in fields ? String(fields.code) : '';
    if (code !== '') this.coverage.count(`log: ${code}`);
    if ('kind' in fields && fields.kind === 'fenced') this.coverage.count('fenced');
    if ('uuid' in fields && message.startsWith('capture failed')) {
      this.oracle.captureFailed(host, String(fields.uuid), code);
    }
    this.record(host, 'log', `${message} ${JSON.stringify(fields)}`);
    if (code === 'INTERNAL') this.oracle.fail(new Violation('program', `${host}: ${message}`));
  }

  record(host: string, site: string, action: string): void {
    this.world.trace.record({ timeMs: this.nowMs, host, site, action, outcome: '' });
  }

  async #install(): Promise<void> {
    for (const host of this.hosts) await host.install();
    if (this.shareIsLocal) return;
    const installer = this.world.host('installer').start();
    await createLocalShareStore({
      fs: installer.share,
      root: SHARE,
      self: hostNamed('installer'),
      clock: installer.clock,
      random: installer.random,
    }).initialise({});
    installer.process.kill();
  }

  /** After the call has returned: nothing happens to a host in the middle of its own turn. */
  #strike(name: string, fault: ArmedFault): void {
    this.coverage.count(`armed: ${fault.kind}`);
    const host = this.host(name);
    this.world.clock.after(0, () => {
      switch (fault.kind) {
        case 'power-loss':
          this.powerLoss(host, fault.downMs);
          break;
        case 'crash-server':
          this.crashServer(fault.downMs, fault.graceMs);
          break;
        case 'pause':
          host.pause(fault.ms);
          break;
        case 'partition':
          this.partition(name, fault.ms);
          break;
        case 'kill-agent':
          host.killAgent();
          break;
        case 'kill':
        case 'fail':
        case 'delay':
          break;
      }
    });
  }
}
