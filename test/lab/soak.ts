/**
 * soak: several VMs of one share write all the time, while machines, network and disk fail at random, for as long as is asked.
 *
 * One fault at a time, and after each the VMs that it took down or cut off go on on a host that can have them. Every start is judged by what is
 * known from outside (G4: everything acknowledged is there; G1: nothing is there that was never written); at the end every VM's last
 * value must be in its head, and every generation must read back.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { SeededRandom } from '../sim/random.js';
import { expectHead, expectWhole, powerUp, restPublished, settled, stopVm, takeOver } from './acts.js';
import type { Bench } from './bench.js';
import type { Cluster } from './machines/cluster.js';
import type { Host } from './machines/host.js';

/** A VM and the host on which it runs. */
interface Vm {
  readonly bench: Bench;
  host: Host;
}

export interface SoakCounts {
  readonly faults: Readonly<Record<string, number>>;
  /** Starts on another host than the one before. */
  readonly takeOvers: number;
  readonly acknowledged: number;
  readonly checks: number;
  readonly violations: readonly string[];
}

const NETEM = 'delay 60ms 20ms loss 3%';
/** How long VMs write between two faults, ms. */
const CALM_MS = [500, 4000] as const;
const BRIEF_MS = [500, 5000] as const;

export class Soak {
  readonly #cluster: Cluster;
  readonly #random: SeededRandom;
  readonly #say: (text: string) => void;
  readonly #vms: readonly Vm[];
  readonly #faults: Record<string, number> = {};
  #takeOvers = 0;

  /** @param benches one for each VM, with one share in common */
  constructor(
    cluster: Cluster,
    benches: readonly Bench[],
    random: SeededRandom,
    say: (text: string) => void,
  ) {
    this.#cluster = cluster;
    this.#random = random;
    this.#say = say;
    this.#vms = benches.map((bench, at) => ({ bench, host: at % 2 === 0 ? cluster.hostA : cluster.hostB }));
  }

  /** @throws Error when it could not go on, which is a failure of its own */
  async run(minutes: number): Promise<void> {
    await this.#begin();
    const untilMs = performance.now() + minutes * 60_000;
    while (performance.now() < untilMs) {
      await pause(this.#random.between(CALM_MS));
      const [name, fault] = this.#random.pick(this.#choices());
      this.#faults[name] = (this.#faults[name] ?? 0) + 1;
      this.#say(`${Math.ceil((untilMs - performance.now()) / 1000)} s left: ${name}`);
      await fault();
    }
    await this.#end();
  }

  counts(): SoakCounts {
    const verdicts = this.#vms.map(({ bench }) => bench.verdict);
    return {
      faults: this.#faults,
      takeOvers: this.#takeOvers,
      acknowledged: this.#vms.reduce(
        (sum, { bench }) =>
          sum + this.#cluster.hosts.reduce((on, host) => on + bench.ledger.countOn(host), 0),
        0,
      ),
      checks: verdicts.reduce((sum, { checks }) => sum + checks.length, 0),
      violations: verdicts.flatMap(({ violations }) =>
        violations.map(({ name, seen }) => `${name}: ${seen}`),
      ),
    };
  }

  #choices(): readonly (readonly [name: string, fault: () => Promise<void>])[] {
    const { host } = this.#random.pick(this.#vms);
    return [
      ['power cut of a host', () => this.#powerCutHost(host)],
      ['power cut of the server', () => this.#powerCutServer()],
      ['partition longer than the expiry', () => this.#longPartition(host)],
      ['partition shorter than the expiry', () => this.#shortPartition(host)],
      ['replies of the server lost', () => this.#lostReplies(host)],
      ['agent killed', () => this.#killAgent(host)],
      ['slow and lossy network', () => this.#slowNetwork(host)],
      ['host paused', () => this.#pauseHost(host)],
      ['disk of the server full', () => this.#fullDisk()],
      ['VM moved', () => this.#move(this.#random.pick(this.#vms))],
      ['VM killed and started again', () => this.#killVm(this.#random.pick(this.#vms))],
    ];
  }

  async #begin(): Promise<void> {
    const [first] = this.#vms;
    await first?.bench.open();
    for (const { bench, host } of this.#vms) {
      const { granted, because } = await bench.startVm(host);
      if (!granted) throw new Error(`the first start of a VM was refused: ${because}`);
      await bench.define(host);
      await bench.write(host);
    }
  }

  async #end(): Promise<void> {
    for (const { bench, host } of this.#vms) {
      const value = await restPublished(bench, host);
      await expectHead(bench, host, value, 'G4: the last value is in the head');
      await stopVm(bench, host);
    }
    for (const { bench } of this.#vms) await expectWhole(bench);
  }

  async #powerCutHost(host: Host): Promise<void> {
    await host.powerCut();
    const stranded = await this.#rescue(host);
    const [first] = this.#vms;
    if (first) await powerUp(first.bench, host);
    for (const { bench } of stranded) await settled(bench, host);
  }

  async #powerCutServer(): Promise<void> {
    await this.#cluster.powerCutServer();
    await this.#cluster.powerOnServer();
    await this.#progress();
  }

  async #longPartition(host: Host): Promise<void> {
    host.cable.cut();
    const stranded = await this.#rescue(host);
    host.cable.heal();
    for (const { bench } of stranded) {
      const late = await bench.rest(host);
      await settled(bench, host);
      const safety = await bench.mirror.safety(host);
      bench.verdict.check('G3: a host that was cut off knows that it is fenced', safety === 'fenced', safety);
      const kept = await bench.eventually(async () => (await this.#diverged(bench, host)).includes(late));
      bench.verdict.check('G5: what it wrote is kept as a diverged copy', kept, `value ${late}`);
      await stopVm(bench, host);
    }
  }

  async #shortPartition(host: Host): Promise<void> {
    host.cable.cut();
    await this.#briefly();
    host.cable.heal();
    await this.#progress();
  }

  async #lostReplies(host: Host): Promise<void> {
    host.cable.silence('server');
    await this.#briefly();
    host.cable.heal();
    await this.#progress();
  }

  async #killAgent(host: Host): Promise<void> {
    const [first] = this.#vms;
    await first?.bench.mirror.killService(host);
    await this.#briefly();
    await first?.bench.mirror.startService(host);
    await this.#progress();
  }

  async #slowNetwork({ machine: { shell } }: Host): Promise<void> {
    await shell.run(`modprobe sch_netem; tc qdisc add dev eth0 root netem ${NETEM}`);
    await this.#briefly();
    await shell.run('tc qdisc del dev eth0 root');
    await this.#progress();
  }

  async #pauseHost({ machine }: Host): Promise<void> {
    machine.pause();
    await this.#briefly();
    machine.resume();
    await this.#progress();
  }

  async #fullDisk(): Promise<void> {
    await this.#cluster.server.fillDisk();
    await this.#briefly();
    await this.#cluster.server.freeDisk();
    await this.#progress();
  }

  async #move(vm: Vm): Promise<void> {
    await vm.bench.rest(vm.host);
    await stopVm(vm.bench, vm.host);
    await this.#start(vm, this.#other(vm.host));
  }

  async #killVm(vm: Vm): Promise<void> {
    await vm.bench.killVm(vm.host);
    await vm.bench.mirror.stopped(vm.host);
    await this.#start(vm, vm.host);
  }

  /** The VMs of a host that is gone go on on the other one. @returns those */
  async #rescue(gone: Host): Promise<readonly Vm[]> {
    const stranded = this.#vms.filter(({ host }) => host === gone);
    for (const vm of stranded) await this.#start(vm, this.#other(gone));
    return stranded;
  }

  async #start(vm: Vm, host: Host): Promise<void> {
    const from = vm.host;
    await takeOver(vm.bench, host, from);
    if (host !== from) this.#takeOvers += 1;
    vm.host = host;
    await vm.bench.write(host);
  }

  /** Nobody was taken down: every VM goes on to publish. */
  async #progress(): Promise<void> {
    await Promise.all(this.#vms.map(({ bench, host }) => bench.acknowledged(host, 1)));
  }

  async #diverged(bench: Bench, host: Host): Promise<(number | undefined)[]> {
    return (await bench.mirror.diverged(host)).map((digest) => bench.ledger.valueOf(digest));
  }

  #other(host: Host): Host {
    return host === this.#cluster.hostA ? this.#cluster.hostB : this.#cluster.hostA;
  }

  async #briefly(): Promise<void> {
    await pause(this.#random.between(BRIEF_MS));
  }
}
