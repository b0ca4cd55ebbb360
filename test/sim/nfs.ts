/**
 * nfs: a simulated NFS export and the hosts that mount it: the one thing that a scenario holds. Paths are the server's own; make the share's directory in
 * `server.tree` or through a client.
 *
 *     const nfs = new SimulatedNfs({ clock, random, trace, faults: ROUGH });
 *     const fs = nfs.client(process);
 *     nfs.partition('kvm-a'); process.kill(); nfs.heal('kvm-a');
 */
import type { FileSystem } from '../../src/model/filesystem.js';
import type { VirtualClock } from './clock.js';
import { CALM, type FaultProfile } from './fault-profile.js';
import type { Injector } from './injection.js';
import type { CrashModel } from './metadata-journal.js';
import { NfsClient } from './nfs-client.js';
import { NfsMount } from './nfs-mount.js';
import { NfsNetwork } from './nfs-network.js';
import { NfsServer } from './nfs-server.js';
import { ProcessFileSystem } from './process-filesystem.js';
import type { SimulatedProcess } from './process.js';
import type { SeededRandom } from './random.js';
import type { Trace } from './trace.js';

export interface NfsOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly trace: Trace;
  readonly faults?: FaultProfile;
  /** @default 'sync' */
  readonly export?: 'sync' | 'async';
  readonly capacityBytes?: number;
  /** How wrong each host's clock is, ms, where it stamps what that host writes, as on CephFS. */
  readonly writerSkewMs?: ((host: string) => number) | undefined;
  /** Hosts whose mount is soft, and after how long it gives up. All others are hard. */
  readonly softTimeoutMs?: Readonly<Record<string, number>>;
}

export class SimulatedNfs {
  readonly server: NfsServer;
  readonly #network: NfsNetwork;
  readonly #options: NfsOptions;
  readonly #mounts = new Map<string, NfsMount>();

  constructor(options: NfsOptions) {
    const { clock, trace, random, capacityBytes, writerSkewMs } = options;
    this.#options = options;
    this.server = new NfsServer({
      clock,
      trace,
      random: random.fork('server'),
      export: options.export ?? 'sync',
      writerSkewMs,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
    });
    const network = { clock, random: random.fork('network'), server: this.server };
    this.#network = new NfsNetwork(network, options.faults ?? CALM);
  }

  get faults(): FaultProfile {
    return this.#network.faults;
  }

  /** May be exchanged at any time. */
  set faults(faults: FaultProfile) {
    this.#network.faults = faults;
  }

  /** The mount of the process's host, shared by all processes there. */
  client(process: SimulatedProcess, inject?: Injector): FileSystem {
    const { clock, trace } = this.#options;
    return new ProcessFileSystem(new NfsClient(this.#mount(process.host), process), {
      process,
      clock,
      trace,
      inject,
    });
  }

  /** Cuts a host off from the server: its calls hang (or time out, on a soft mount) until `heal`. */
  partition(host: string): void {
    this.#record(host, 'partition');
    this.#network.partition(host);
  }

  heal(host: string): void {
    this.#record(host, 'heal');
    this.#network.heal(host);
  }

  /** What is held up on its way arrives soon. */
  hasten(): void {
    this.#network.hasten();
  }

  /** Whether a request, or its reply, is on its way. */
  get isBusy(): boolean {
    return this.#network.isBusy;
  }

  /** A host loses power: cache, unsent data and waiting requests are gone. Its processes are the caller's to kill, before this. */
  powerLoss(host: string): void {
    this.#record(host, 'power loss');
    this.#mounts.get(host)?.powerLoss();
    this.#mounts.delete(host);
  }

  crashServer(model?: CrashModel): void {
    this.server.crash(model);
  }

  restartServer(graceMs = 90_000): void {
    this.server.restart(graceMs);
    this.#network.serverRestarted();
  }

  #mount(host: string): NfsMount {
    let mount = this.#mounts.get(host);
    if (!mount) {
      const { clock, random, softTimeoutMs } = this.#options;
      mount = new NfsMount(host, {
        clock,
        random: random.fork(`mount ${host}`),
        network: this.#network,
        server: this.server,
        softTimeoutMs: softTimeoutMs?.[host],
      });
      this.#mounts.set(host, mount);
    }
    return mount;
  }

  #record(host: string, action: string): void {
    const timeMs = this.#options.clock.nowMs;
    this.#options.trace.record({ timeMs, host, site: '', action, outcome: '' });
  }
}
