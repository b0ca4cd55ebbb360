/**
 * bench: one scenario's VM, its share and its books, on the cluster that all scenarios use one after the other.
 */
import { NotInTimeError, waitUntil } from '../fixtures/wait-until.js';
import { Ledger } from './ledger.js';
import type { Cluster } from './machines/cluster.js';
import { MOUNT_POINT, USUAL_MOUNT, type Host, type HostEvent, type MountKind } from './machines/host.js';
import { DATA } from './machines/nfs-server.js';
import { LOOK_INTERVAL_MS, type Mirror, type Permission, type Place, type Timing } from './mirror.js';
import { Verdict } from './verdict.js';

/** Each run of a VM writes values of its own range, so that a value tells the run. */
const RUN = 1_000_000;
export const WAIT_MS = 240_000;
const LINES_KEPT = 400;

const USUAL_GENERATIONS = 32;

export const USUAL_TIMING: Timing = { heartbeatMs: 1000, expiryMs: 8000, shareDeadlineMs: 20_000 };

export interface BenchOptions {
  readonly timing?: Timing;
  readonly mount?: MountKind;
  readonly uid?: number;
  readonly placement?: Place['placement'];
  readonly generations?: number;
}

export interface BenchSetup {
  readonly cluster: Cluster;
  /** Of the VM, unlike every other's on this cluster; short. */
  readonly id: string;
  /** Of its share and of the service's directories; benches may have them in common. @default id */
  readonly site?: string;
  readonly makeMirror: (place: Place, program: string) => Mirror;
  readonly isControl: boolean;
  /** Follows what the services and the lab do. */
  readonly onLine: (line: string) => void;
  readonly options: BenchOptions;
}

export class Bench {
  readonly cluster: Cluster;
  readonly ledger = new Ledger();
  readonly verdict: Verdict;
  readonly place: Place;
  readonly mirror: Mirror;
  readonly mount: MountKind;
  /** What the services said, for whoever looks for the cause of a failure. */
  readonly lines: string[] = [];
  readonly #onLine: (line: string) => void;
  #runs = 0;

  constructor({ cluster, id, site = id, makeMirror, isControl, onLine, options }: BenchSetup) {
    const { timing = USUAL_TIMING, mount = USUAL_MOUNT, uid = 0 } = options;
    const { placement = 'mirror', generations = USUAL_GENERATIONS } = options;
    this.cluster = cluster;
    this.verdict = new Verdict(isControl);
    this.mount = mount;
    this.#onLine = onLine;
    this.place = {
      uuid: `6b0c2d4e-7a1f-4c3b-9d55-${Buffer.from(id).toString('hex').slice(-12).padStart(12, '0')}`,
      share: `${MOUNT_POINT}/${site}`,
      shareOnServer: `${DATA}/${mount.from}/${site}`,
      stateDirectory: `/local/${site}/state`,
      swtpmDirectory: `/local/${site}/swtpm`,
      runDirectory: `/run/${site}`,
      timing,
      uid,
      placement,
      generations,
    };
    this.mirror = makeMirror(this.place, cluster.program);
  }

  get hostA(): Host {
    return this.cluster.hostA;
  }

  get hostB(): Host {
    return this.cluster.hostB;
  }

  /** Mounts, makes the share and starts the services, unless they are there already. */
  async open(hosts: readonly Host[] = this.cluster.hosts): Promise<void> {
    await this.mirror.makeShare(this.cluster.server);
    await Promise.all(hosts.map((host) => host.mount(this.mount)));
    await Promise.all(hosts.map((host) => this.mirror.startService(host)));
  }

  /** Ends the VM wherever it runs, so that the services can serve another one; those that have ended need not be told. */
  async close(): Promise<void> {
    await Promise.allSettled(
      this.cluster.hosts.map(async (host) => {
        await this.killVm(host);
        await this.mirror.stopped(host);
      }),
    );
  }

  take(event: HostEvent): void {
    if ('tpm' in event && event.tpm !== this.place.uuid) return;
    switch (event.kind) {
      case 'writing':
        this.ledger.writing(event.host, event.value);
        return;
      case 'wrote':
        this.ledger.wrote(event.host, event.value, event.digest);
        return;
      case 'line': {
        this.#note(`${event.host.name} ${event.line}`);
        const acknowledged = this.mirror.acknowledgementIn(event.line);
        if (acknowledged) this.ledger.acknowledged(event.host, acknowledged.digest, acknowledged.slot);
        return;
      }
      case 'exited':
        this.#note(`${event.host.name} ${event.name} ended: ${event.how}`);
    }
  }

  /** Asks for the start of the VM; when it is granted, its TPM's state is in place. */
  async prepare(host: Host): Promise<Permission> {
    const permission = await this.mirror.prepare(host);
    const { granted, because } = permission;
    this.#note(`lab: start on ${host.name}: ${granted ? 'granted' : 'refused'}: ${because}`);
    return permission;
  }

  /** The same; when it is granted, the VM runs. */
  async startVm(host: Host): Promise<Permission> {
    const permission = await this.prepare(host);
    if (permission.granted) await this.runVm(host);
    return permission;
  }

  /** The VM's TPM starts, with whatever state lies there. */
  async runVm(host: Host): Promise<void> {
    const { uuid, swtpmDirectory, runDirectory } = this.place;
    const state = `${swtpmDirectory}/${uuid}/tpm2`;
    const run = `${runDirectory}/tpm-${uuid.slice(-8)}`;
    await host.machine.shell.run(`mkdir -p ${state} ${run}`);
    await host.driver.do({ kind: 'tpm-start', tpm: uuid, state, run });
    await this.mirror.started(host);
  }

  async killVm(host: Host): Promise<void> {
    await host.driver.do({ kind: 'tpm-kill', tpm: this.place.uuid });
  }

  /** The TPM's value; `undefined` for a blank TPM. */
  async read(host: Host): Promise<number | undefined> {
    return await host.driver.read(this.place.uuid);
  }

  async define(host: Host): Promise<void> {
    await host.driver.do({ kind: 'tpm-define', tpm: this.place.uuid });
  }

  /** Begins to write, as fast as the TPM takes it. */
  async write(host: Host): Promise<void> {
    await this.#write(host, false);
  }

  /** Writes one value, and resolves when the share has acknowledged it. */
  async publishOne(host: Host): Promise<number> {
    const value = await this.#write(host, true);
    await this.acknowledgedValue(host, value);
    return value;
  }

  async #write(host: Host, once: boolean): Promise<number> {
    this.#runs += 1;
    const from = this.#runs * RUN;
    await host.driver.do({ kind: 'tpm-write', tpm: this.place.uuid, from, once });
    return from;
  }

  /** Stops writing. @returns the last value */
  async rest(host: Host): Promise<number> {
    return await host.driver.number({ kind: 'tpm-rest', tpm: this.place.uuid });
  }

  /** Resolves when `count` more publishes have been acknowledged on a host. */
  async acknowledged(host: Host, count: number): Promise<void> {
    const before = this.ledger.countOn(host);
    await waitUntil(`${count} more acknowledged publishes on ${host.name}`, WAIT_MS, () =>
      this.ledger.countOn(host) >= before + count ? true : undefined,
    );
  }

  /** Resolves when the value is acknowledged on a host. */
  async acknowledgedValue(host: Host, value: number): Promise<void> {
    await waitUntil(`value ${value} acknowledged on ${host.name}`, WAIT_MS, () =>
      this.ledger.acknowledgedOn(host) >= value ? true : undefined,
    );
  }

  /** The value in the head, as a host reads it from the share. */
  async headValue(host: Host): Promise<number | undefined> {
    return this.ledger.valueOf(await this.mirror.head(host));
  }

  /** Whether something comes to pass while one waits for it. @throws whatever keeps one from looking, which proves nothing */
  async eventually(probe: () => Promise<boolean>): Promise<boolean> {
    try {
      await this.until('it', probe);
      return true;
    } catch (error) {
      if (error instanceof NotInTimeError) return false;
      throw error;
    }
  }

  /** Looks again and again until it comes to pass, or for too long. */
  async until(what: string, probe: () => Promise<boolean>): Promise<void> {
    await waitUntil(what, WAIT_MS, async () => ((await probe()) ? true : undefined), LOOK_INTERVAL_MS);
  }

  #note(line: string): void {
    const stamped = `${new Date().toISOString()} ${line}`;
    this.#onLine(stamped);
    this.lines.push(stamped);
    if (this.lines.length > LINES_KEPT) this.lines.shift();
  }
}
