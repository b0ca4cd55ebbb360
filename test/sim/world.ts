/**
 * world: what a schedule plays in: hosts with a local disk each, one NFS server, one clock, one seed.
 *
 *     const world = new SimulatedWorld(seed, { faults: ROUGH });
 *     const program = world.host('kvm-a').start();
 *     await world.outcome(publish({ fs: program.share, … }), 60_000);
 *     world.host('kvm-a').powerLoss();
 *
 * I1 Everything that happens is a function of the seed and of what the scenario calls. Print seed and trace when a schedule fails.
 */
import type { FileSystem } from '../../src/model/filesystem.js';
import { HostClock, VirtualClock } from './clock.js';
import { SimulatedDisk } from './disk.js';
import type { Injector } from './injection.js';
import type { CrashModel } from './metadata-journal.js';
import { SimulatedNfs, type NfsOptions } from './nfs.js';
import { SimulatedProcess } from './process.js';
import { SeededRandom } from './random.js';
import { Trace } from './trace.js';

export interface WorldOptions extends Omit<NfsOptions, 'clock' | 'random' | 'trace' | 'writerSkewMs'> {
  /** Whose clock stamps the files of the export. @default 'server' */
  readonly times?: 'server' | 'writer' | undefined;
}

/** Hosts' clocks are wrong by up to a day, because nothing may depend on them. */
const SKEW_MS = 86_400_000;
/** Where their files' times are of these clocks, small errors are as bad as large ones. */
const WRITER_SKEWS_MS = [0, 3_000, 15_000, 60_000, SKEW_MS];

/** One life of a program, with the ports that it is given. */
export interface RunningProgram {
  readonly process: SimulatedProcess;
  readonly clock: HostClock;
  readonly random: SeededRandom;
  readonly local: FileSystem;
  readonly share: FileSystem;
}

export interface StartOptions {
  readonly injectLocal?: Injector;
  readonly injectShare?: Injector;
}

export class SimulatedWorld {
  readonly seed: string | number;
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly trace = new Trace();
  readonly nfs: SimulatedNfs;
  readonly times: 'server' | 'writer';
  readonly #hosts = new Map<string, SimulatedHost>();

  constructor(seed: string | number, options: WorldOptions = {}) {
    this.seed = seed;
    this.random = new SeededRandom(seed);
    this.times = options.times ?? 'server';
    const { clock, trace } = this;
    this.nfs = new SimulatedNfs({
      ...options,
      clock,
      trace,
      random: this.random.fork('nfs'),
      writerSkewMs: this.times === 'writer' ? (host) => this.host(host).skewMs : undefined,
    });
  }

  host(name: string): SimulatedHost {
    let host = this.#hosts.get(name);
    if (!host) this.#hosts.set(name, (host = new SimulatedHost(this, name)));
    return host;
  }

  /** Lets time pass. */
  pass(durationMs: number): Promise<void> {
    return this.clock.run(this.clock.nowMs + durationMs);
  }

  /** Lets time pass until the promise is settled, for at most `limitMs`. */
  outcome<T>(promise: Promise<T>, limitMs = 600_000): Promise<T> {
    return this.clock.runUntilSettled(promise, limitMs);
  }
}

export class SimulatedHost {
  readonly name: string;
  readonly disk: SimulatedDisk;
  /** How wrong its clock is. */
  readonly skewMs: number;
  readonly #world: SimulatedWorld;
  readonly #processes = new Set<SimulatedProcess>();
  #starts = 0;

  constructor(world: SimulatedWorld, name: string) {
    this.name = name;
    this.#world = world;
    const random = world.random.fork(`host ${name}`);
    const skewMs = random.int(-SKEW_MS, SKEW_MS);
    this.skewMs =
      world.times === 'server' ? skewMs : Math.sign(skewMs) * random.fork('skew').pick(WRITER_SKEWS_MS);
    const { clock, trace } = world;
    this.disk = new SimulatedDisk({ clock, trace, random: random.fork('disk') });
  }

  /** Starts a program; several may run at a time, and share the disk and the mount. */
  start({ injectLocal, injectShare }: StartOptions = {}): RunningProgram {
    const process = new SimulatedProcess(this.name);
    this.#processes.add(process);
    process.onEnd(() => this.#processes.delete(process));
    this.#starts += 1;
    return {
      process,
      clock: new HostClock(this.#world.clock, process, this.skewMs),
      random: this.#world.random.fork(`program ${this.name} ${this.#starts}`),
      local: this.disk.fileSystem(process, injectLocal),
      share: this.#world.nfs.client(process, injectShare),
    };
  }

  powerLoss(model?: CrashModel): void {
    for (const process of [...this.#processes]) process.kill();
    this.#world.nfs.powerLoss(this.name);
    this.disk.powerLoss(model);
  }
}
