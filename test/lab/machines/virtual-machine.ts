/**
 * virtual-machine: one guest: a user-mode Linux, whose kernel is a program and whose processes are processes of this machine. It needs no hardware
 * virtualisation, and costs a third of what an emulated processor does. Its root file system is this machine's own, read-only.
 *
 * Power loss is the end of all its processes by SIGKILL: their memory is gone, caches and all; the disk's file stays. They have a process namespace of
 * their own, whose first process dies with the lab, whatever ends that, and takes them all with it in one moment. Left alone for a moment by their
 * kernel they would go on as processes of this machine: so they see its file systems read-only there, too, but for the machine's directory.
 */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { BackgroundProcess } from '../../fixtures/process.js';
import { waitUntil } from '../../fixtures/wait-until.js';
import type { Plug } from './cable.js';
import { GuestShell } from './guest-shell.js';

export interface MachineOptions {
  /** Its host name. */
  readonly name: string;
  /** Unlike every other machine's, from 1 to 9: its network addresses are made from it. */
  readonly number: number;
  /** 32 hexadecimal digits. */
  readonly machineId: string;
  /** For its disk, its console's log, and whatever else it leaves. */
  readonly directory: string;
  /** The lab's own files for guests, found under the same path in the guest. */
  readonly program: string;
  readonly memoryMb: number;
  /** Of its network devices: `eth0`, `eth1` and so on. */
  readonly networks: readonly Plug[];
}

const BOOT_TIMEOUT_MS = 240_000;
const START_TIMEOUT_MS = 30_000;
const KERNEL = '/usr/bin/linux.uml';
const MEMORY = '/dev/shm';
const MIB = 1024 * 1024;
/** Of the serial ports `ttyS0` and `ttyS1`, as channels of the kernel's process and as descriptors in it. */
const SHELL = { channel: 1, descriptor: 3 };
const DRIVER = { channel: 2, descriptor: 4 };
/** Arguments: the machine's directory, then the kernel and its words. Says the kernel's process id as this machine counts. */
const LAUNCH = `
  mount --bind "$0" "$0" && mount -o remount,bind,ro / || exit
  { read -r pid _ </proc/self/stat; echo "$pid"; exec "$@" >"$0/console.log" 2>&1; } &
  wait
`;

export class VirtualMachine {
  readonly shell = new GuestShell();
  readonly #options: MachineOptions;
  /** What starts the kernel, and ends it. */
  #launcher: BackgroundProcess | undefined;
  /** Process id of the kernel. */
  #kernel = 0;

  constructor(options: MachineOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get isOn(): boolean {
    return this.#launcher !== undefined && !this.#launcher.hasExited;
  }

  /** The port that the driver in the guest serves. */
  get driverPort(): Duplex {
    return this.#running.channel(DRIVER.channel);
  }

  /** An ext4 image, mounted at `/local`. */
  get disk(): string {
    return join(this.#options.directory, 'disk.img');
  }

  get consoleLog(): string {
    return join(this.#options.directory, 'console.log');
  }

  /** Starts the machine; `booted` tells when it serves commands. */
  async powerOn(): Promise<void> {
    const { directory } = this.#options;
    this.#launcher = await BackgroundProcess.start(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', '--mount'],
        ...['bash', '-c', LAUNCH, directory, KERNEL, ...this.#kernelWords()],
      ],
      { channels: 2, env: { TMPDIR: await this.#memoryPlace() } },
    );
    const launcher = this.#launcher;
    this.#kernel = await Promise.race([
      waitUntil(
        'the kernel to start',
        START_TIMEOUT_MS,
        () => Number(/^(\d+)\n/.exec(launcher.stdout.toString())?.[1] ?? '') || undefined,
      ),
      this.#ended(),
    ]);
  }

  async booted(): Promise<void> {
    await Promise.race([
      this.shell.open(this.#running.channel(SHELL.channel), BOOT_TIMEOUT_MS),
      this.#ended(),
    ]);
  }

  /** Memory, caches and processors are gone at once. */
  async powerCut(): Promise<void> {
    await this.#launcher?.kill();
    this.shell.close(`${this.name} has lost its power`);
  }

  /** The machine stands still. The kernel holds its processes by the hand, so they stand with it. */
  pause(): void {
    process.kill(this.#kernel, 'SIGSTOP');
  }

  /** Nothing to do for one that is not paused. */
  resume(): void {
    if (this.isOn) process.kill(this.#kernel, 'SIGCONT');
  }

  get #running(): BackgroundProcess {
    if (!this.#launcher) throw new Error(`${this.name} is not on`);
    return this.#launcher;
  }

  async #ended(): Promise<never> {
    await this.#running.exited;
    throw new Error(`${this.name} ended while it started: ${this.#running.stderr}, see ${this.consoleLog}`);
  }

  /** Where the kernel makes the file that is the machine's memory: in this machine's own, unless a container leaves too little of that. */
  async #memoryPlace(): Promise<string> {
    const { bavail, bsize } = await statfs(MEMORY);
    return bavail * bsize > this.#options.memoryMb * MIB ? MEMORY : this.#options.directory;
  }

  #kernelWords(): string[] {
    const { directory, memoryMb, name, number, machineId, program, networks } = this.#options;
    return [
      ...[`mem=${memoryMb}M`, `uml_dir=${directory}/`],
      ...['root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${program}/init.sh`],
      ...['quiet', 'panic=-1', 'con=null', 'con0=null,fd:1'],
      ...['ssl=null', `ssl0=fd:${SHELL.descriptor}`, `ssl1=fd:${DRIVER.descriptor}`],
      `ubd0=${this.disk}`,
      ...networks.map(
        ({ address, port, peer }, at) =>
          `vec${at}:transport=l2tpv3,udp=1,src=${address},srcport=${port},dst=${address},dstport=${peer},` +
          `rx_session=1,tx_session=1,mac=52:54:00:00:0${number}:0${at}`,
      ),
      ...[`lab.name=${name}`, `lab.machine=${machineId}`, `lab.program=${program}`],
    ];
  }
}
