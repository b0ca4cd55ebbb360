/**
 * cluster: the lab's three guests, an NFS server and two hosts, with a cable from each host to the server.
 */
import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { runChecked } from '../../fixtures/process.js';
import { Cable } from './cable.js';
import { Host, type HostEvent } from './host.js';
import { makeBootFiles, type BootFiles } from './initramfs.js';
import { NfsServer } from './nfs-server.js';
import { VirtualMachine, type MachineOptions } from './virtual-machine.js';

const DISK_SIZE = '96M';
const SERVER_NUMBER = 9;
const PLUG_TIMEOUT_MS = 30_000;

export class Cluster {
  readonly server: NfsServer;
  readonly hostA: Host;
  readonly hostB: Host;
  /** Where the program under test lies, in the guests as here. */
  readonly program: string;
  readonly #directory: string;

  private constructor(directory: string, boot: BootFiles, onEvent: (event: HostEvent) => void) {
    this.#directory = directory;
    this.program = join(directory, 'program');
    const machine = (name: string, options: Pick<MachineOptions, 'number' | 'memoryMb' | 'networks'>) =>
      new VirtualMachine({
        name,
        ...options,
        machineId: String(options.number).repeat(32),
        directory: join(directory, name),
        disk: join(directory, `${name}.img`),
        program: this.program,
        boot,
      });
    const host = (name: string, number: number) =>
      new Host(
        machine(name, { number, memoryMb: 640, networks: 1 }),
        new Cable(),
        number,
        this.program,
        onEvent,
      );
    this.server = new NfsServer(machine('server', { number: SERVER_NUMBER, memoryMb: 256, networks: 2 }));
    this.hostA = host('kvm-a', 1);
    this.hostB = host('kvm-b', 2);
  }

  /**
   * Starts all three, with empty disks.
   *
   * @param programs files for the guests
   * @param init the first process of the initramfs
   */
  static async start(
    programs: readonly string[],
    init: string,
    onEvent: (event: HostEvent) => void,
  ): Promise<Cluster> {
    const directory = await mkdtemp('/tmp/nfs-lab-');
    await mkdir(join(directory, 'program'));
    for (const file of programs) {
      await copyFile(file, join(directory, 'program', file.slice(file.lastIndexOf('/') + 1)));
    }
    // Where the guests, which see this machine's files, find packages.
    await symlink(resolve('node_modules'), join(directory, 'program', 'node_modules'));
    const cluster = new Cluster(directory, await makeBootFiles(init, directory), onEvent);
    try {
      for (const { name } of cluster.machines) await makeDisk(join(directory, `${name}.img`));
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
    for (const { cable, number } of this.hosts) {
      await cable.plugIn('server', machine.networkSocket(number - 1), PLUG_TIMEOUT_MS);
    }
    await machine.booted();
    await this.server.serve();
  }

  async powerOnHost(host: Host): Promise<void> {
    await host.machine.powerOn();
    await host.cable.plugIn('host', host.machine.networkSocket(0), PLUG_TIMEOUT_MS);
    await host.machine.booted();
    await host.serve();
  }

  async powerCutServer(): Promise<void> {
    for (const { cable } of this.hosts) cable.unplug('server');
    await this.server.machine.powerCut();
  }

  /** As after the start, but for what runs, what is mounted and what lies on the disks. */
  async tidy(): Promise<void> {
    for (const { cable } of this.hosts) cable.heal();
    await Promise.all(this.hosts.map((host) => host.machine.monitor.resume()));
    await Promise.all([this.server, ...this.hosts].map((guest) => guest.tidy()));
  }

  /** Ends the guests and removes all their files. */
  async end(): Promise<void> {
    for (const { cable } of this.hosts) {
      cable.unplug('server');
      cable.unplug('host');
    }
    await Promise.all([this.server.machine.powerCut(), ...this.hosts.map((host) => host.powerCut())]);
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function makeDisk(image: string): Promise<void> {
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
