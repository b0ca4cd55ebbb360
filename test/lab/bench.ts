/**
 * bench: one scenario's VM, its share and its books, on the cluster that all scenarios use one after the other.
 */
import { waitUntil } from '../fixtures/wait-until.js';
import { Ledger } from './ledger.js';
import type { Fate } from './machines/cable.js';
import type { Cluster } from './machines/cluster.js';
import { MOUNT_POINT, USUAL_MOUNT, type Host, type HostEvent, type MountKind } from './machines/host.js';
import { DATA } from './machines/nfs-server.js';
import type { Mirror, Permission, Place, Timing } from './mirror.js';
import { Verdict } from './verdict.js';

/** Each run of a VM writes values of its own range, so that a value tells the run. */
const RUN = 1_000_000;
const WAIT_MS = 240_000;
/** Between two looks into a guest. */
const LOOK_MS = 300;
const LINES_KEPT = 400;
const FIRST_PUBLISHES = 2;

export const USUAL_TIMING: Timing = { heartbeatMs: 1000, expiryMs: 8000, shareDeadlineMs: 10_000 };

export interface BenchOptions {
  readonly timing?: Timing;
  readonly mount?: MountKind;
  readonly uid?: number;
}

export interface BenchSetup {
  readonly cluster: Cluster;
  /** Unlike every other bench's on this cluster; short. */
  readonly id: string;
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

  constructor({ cluster, id, makeMirror, isControl, onLine, options }: BenchSetup) {
    const { timing = USUAL_TIMING, mount = USUAL_MOUNT, uid = 0 } = options;
    this.cluster = cluster;
    this.verdict = new Verdict(isControl);
    this.mount = mount;
    this.#onLine = onLine;
    this.place = {
      uuid: `6b0c2d4e-7a1f-4c3b-9d55-${Buffer.from(id).toString('hex').slice(-12).padStart(12, '0')}`,
      share: `${MOUNT_POINT}/${id}`,
      shareOnServer: `${DATA}/${mount.from}/${id}`,
      stateDirectory: `/local/${id}/state`,
      swtpmDirectory: `/local/${id}/swtpm`,
      runDirectory: `/run/${id}`,
      timing,
      uid,
    };
    this.mirror = makeMirror(this.place, cluster.program);
  }

  get hostA(): Host {
    return this.cluster.hostA;
  }

  get hostB(): Host {
    return this.cluster.hostB;
  }

  /** Mounts, makes the share and starts the services. */
  async open(hosts: readonly Host[] = this.cluster.hosts): Promise<void> {
    await this.mirror.makeShare(this.cluster.server);
    await Promise.all(hosts.map((host) => host.mount(this.mount)));
    await Promise.all(hosts.map((host) => this.mirror.startService(host)));
  }

  take(event: HostEvent): void {
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

  /** Asks for the start of the VM; when it is granted, the TPM runs. */
  async startVm(host: Host): Promise<Permission> {
    const permission = await this.mirror.prepare(host);
    this.#note(
      `lab: start on ${host.name}: ${permission.granted ? 'granted' : 'refused'}: ${permission.because}`,
    );
    if (!permission.granted) return permission;
    await this.runTpm(host);
    await this.mirror.started(host);
    return permission;
  }

  async expectVm(host: Host): Promise<void> {
    const { granted, because } = await this.startVm(host);
    if (!granted) throw new Error(`the VM's start on ${host.name} was refused: ${because}`);
  }

  /** The VM's TPM alone, with whatever state lies there. */
  async runTpm(host: Host): Promise<void> {
    const { uuid, swtpmDirectory, runDirectory } = this.place;
    const state = `${swtpmDirectory}/${uuid}/tpm2`;
    await host.machine.shell.run(`mkdir -p ${state} ${runDirectory}/tpm`);
    await host.driver.do({ kind: 'tpm-start', tpm: uuid, state, run: `${runDirectory}/tpm` });
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

  /** Begins to write, as fast as the TPM takes it, or with a rest after each value. */
  async write(host: Host, restMs = 0): Promise<void> {
    await this.#write(host, restMs, false);
  }

  /** Writes one value, and resolves when the share has acknowledged it. */
  async publishOne(host: Host): Promise<number> {
    const value = await this.#write(host, 0, true);
    await this.acknowledgedValue(host, value);
    return value;
  }

  async #write(host: Host, restMs: number, once: boolean): Promise<number> {
    this.#runs += 1;
    const from = this.#runs * RUN;
    await host.driver.do({ kind: 'tpm-write', tpm: this.place.uuid, from, restMs, once });
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

  /** The VM runs on `host` with a first value, and some more are being written. */
  async beginOn(host: Host): Promise<void> {
    await this.open();
    await this.expectVm(host);
    await this.define(host);
    await this.write(host);
    await this.acknowledged(host, FIRST_PUBLISHES);
  }

  /** Stops writing, and waits until the share has the last value. */
  async restPublished(host: Host): Promise<number> {
    const value = await this.rest(host);
    await this.acknowledgedValue(host, value);
    return value;
  }

  /** The VM goes on on `host`, and publishes. @returns the value in the head */
  async goOn(host: Host): Promise<number> {
    await this.write(host);
    await this.acknowledged(host, FIRST_PUBLISHES);
    return await this.restPublished(host);
  }

  /** The VM ends in good order. */
  async stopVm(host: Host): Promise<void> {
    await this.killVm(host);
    await this.mirror.stopped(host);
  }

  /** Resolves in the moment in which a commit of `host` is on the wire; `act` is done at once. */
  catchCommit(host: Host, fate: Fate, act: () => void): Promise<void> {
    const caught = new Promise<void>((resolve) => {
      host.cable.layTrap({
        from: 'host',
        fate,
        isPrey: (frame) => this.mirror.isCommit(frame),
        onCaught: () => {
          act();
          resolve();
        },
      });
    });
    return within(`a commit of ${host.name} on the wire`, caught);
  }

  /** A host that lost the volume has not changed the head. */
  async expectHead(reader: Host, value: number, name: string): Promise<void> {
    const head = await this.headValue(reader);
    this.verdict.check(
      name,
      head === value,
      `the head has ${head ?? 'no known value'}, ${value} was published last`,
    );
  }

  /** Whether something comes to pass while one waits for it. */
  async eventually(probe: () => Promise<boolean>): Promise<boolean> {
    return await this.until('it', probe).then(
      () => true,
      () => false,
    );
  }

  async until(what: string, probe: () => Promise<boolean>): Promise<void> {
    let last = 0;
    await waitUntil(what, WAIT_MS, async () => {
      if (performance.now() - last < LOOK_MS) return undefined;
      last = performance.now();
      return (await probe()) ? true : undefined;
    });
  }

  /** Resolves when nothing on a host waits for the share any more: it is there, or it never will be. */
  async settled(host: Host): Promise<void> {
    await this.until(`${host.name} to have settled`, async () => {
      const safety = await this.mirror.safety(host);
      return safety === 'fenced' || safety === 'published';
    });
  }

  /** The VM starts on `host`, and its TPM has what `from` had acknowledged (G4), and nothing that was never written (G1). */
  async takeOver(host: Host, from: Host): Promise<void> {
    const { granted, because } = await this.mirror.prepare(host);
    if (!granted) throw new Error(`the VM's start on ${host.name} was refused: ${because}`);
    await this.runPrepared(host, from);
  }

  /** The same for a start that has been granted already. */
  async runPrepared(host: Host, from: Host): Promise<void> {
    const acknowledged = this.ledger.acknowledgedOn(from);
    const begun = this.ledger.begunOn(from);
    await this.runTpm(host);
    await this.mirror.started(host);
    const value = await this.read(host);
    const seen = `${from.name} had ${acknowledged} acknowledged and ${begun} begun; ${host.name} reads ${value ?? 'a blank TPM'}`;
    this.verdict.check('G4: the new holder has everything acknowledged', (value ?? -1) >= acknowledged, seen);
    this.verdict.check(
      'G1: the new holder has a state that was written',
      value !== undefined && value <= begun,
      seen,
    );
  }

  /** What every scenario ends with. */
  async verify(): Promise<void> {
    const wrong = await this.mirror.verify(this.cluster.server);
    this.verdict.check(
      'G1: every generation reads back whole',
      wrong === '',
      wrong || 'verify --all found nothing',
    );
  }

  #note(line: string): void {
    const stamped = `${new Date().toISOString()} ${line}`;
    this.#onLine(stamped);
    this.lines.push(stamped);
    if (this.lines.length > LINES_KEPT) this.lines.shift();
  }
}

async function within<Result>(what: string, result: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`expected ${what} within ${WAIT_MS} ms`));
    }, WAIT_MS);
  });
  return await Promise.race([result, late]).finally(() => {
    clearTimeout(timer);
  });
}
