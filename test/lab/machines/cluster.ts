/**
 * cluster: the lab's three guests, an NFS server and two hosts, with a cable from each host to the server.
 */
import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { runChecked } from '../../fixtures/process.js';
import { Cable } from './cable.js';
import { Host, type HostEvent } from './host.js';
import { NfsServer } from './nfs-server.js';
import { VirtualMachine, type MachineOptions } from './virtual-machine.js';

const DISK_SIZE = '96M';
const SERVER_NUMBER = 9;

export class Cluster {
  readonly server: NfsServer;
  readonly hostA: Host;
  readonly hostB: Host;
  /** Where the program under test lies, in the guests as here. */
  readonly program: string;
  readonly #directory: string;

  private constructor(directory: string, onEvent: (event: HostEvent) => void) {
    this.#directory = directory;
    this.program = join(directory, 'program');
    const machine = (name: string, options: Pick<MachineOptions, 'number' | 'memoryMb' | 'networks'>) =>
      new VirtualMachine({
        name,
        ...options,
        machineId: String(options.number).repeat(32),
        directory: join(directory, name),
        program: this.program,
      });
    const host = (name: string, number: number) => {
      const cable = new Cable();
      const networks = [cable.plug('host')];
      return new Host(
        machine(name, { number, memoryMb: 640, networks }),
        cable,
        number,
        this.program,
        onEvent,
      );
    };
    this.hostA = host('kvm-a', 1);
    this.hostB = host('kvm-b', 2);
    const networks = this.hosts.map(({ cable }) => cable.plug('server'));
    this.server = new NfsServer(machine('server', { number: SERVER_NUMBER, memoryMb: 256, networks }));
  }

  /**
   * Starts all three, with empty disks.
   *
   * @param programs files for the guests
   */
  static async start(programs: readonly string[], onEvent: (event: HostEvent) => void): Promise<Cluster> {
    const directory = await mkdtemp('/tmp/nfs-lab-');
    await mkdir(join(directory, 'program'));
    for (const file of programs) {
      await copyFile(file, join(directory, 'program', file.slice(file.lastIndexOf('/') + 1)));
    }
    // Where the guests, which see this machine's files, find packages.
    await symlink(resolve('node_modules'), join(directory, 'program', 'node_modules'));
    const cluster = new Cluster(directory, onEvent);
    try {
      await Promise.all(cluster.hosts.map(({ cable }) => cable.laid()));
      for (const { disk } of cluster.machines) await makeDisk(disk);
      await Promise.all([
        cluster.powerOnServer(),
        cluster.powerOnHost(cluster.hostA),
        cluster.powerOnHost(cluster.hostB),
      ]);
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  get hosts(): readonly Host[] {
    return [this.hostA, this.hostB];
  }

  get machines(): readonly VirtualMachine[] {
    return [this.server.machine, this.hostA.machine, this.hostB.machine];
  }

  async powerOnServer(): Promise<void> {
    const { machine } = this.server;
    await machine.powerOn();
    await machine.booted();
    await this.server.serve();
  }

  async powerOnHost(host: Host): Promise<void> {
    await host.machine.powerOn();
    await host.machine.booted();
    await host.serve();
  }

  async powerCutServer(): Promise<void> {
    await this.server.machine.powerCut();
  }

  /** As after the start, but for what runs, what is mounted and what lies on the disks. */
  async tidy(): Promise<void> {
    for (const { cable } of this.hosts) cable.heal();
    for (const { machine } of this.hosts) machine.resume();
    await Promise.all([this.server, ...this.hosts].map((guest) => guest.tidy()));
  }

  /** Ends the guests and removes all their files. */
  async end(): Promise<void> {
    await Promise.all([this.server.machine.powerCut(), ...this.hosts.map((host) => host.powerCut())]);
    for (const { cable } of this.hosts) cable.remove();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function makeDisk(image: string): Promise<void> {
  await mkdir(dirname(image));
  await runChecked('truncate', ['--size', DISK_SIZE, image]);
  await runChecked('mke2fs', [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-E',
    'lazy_itable_init=0,lazy_journal_init=0',
    image,
  ]);
}
