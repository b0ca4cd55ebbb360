/**
 * virtual-machine: one guest: a QEMU process in software emulation, and the process that shares this machine's root file system with it, read-only.
 *
 * Power loss is the end of the QEMU process by SIGKILL: its memory is gone, caches and all; its disk's file stays. Both processes die with
 * the lab, whatever ends it.
 */
import { access, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BackgroundProcess } from '../../fixtures/process.js';
import { waitUntil } from '../../fixtures/wait-until.js';
import { GuestShell } from './guest-shell.js';
import type { BootFiles } from './initramfs.js';
import { Monitor } from './monitor.js';

export interface MachineOptions {
  /** Its host name. */
  readonly name: string;
  /** Unlike every other machine's, from 1 to 9: its network addresses are made from it. */
  readonly number: number;
  /** 32 hexadecimal digits. */
  readonly machineId: string;
  /** For its sockets and its console's log: a short path. */
  readonly directory: string;
  /** An ext4 image, mounted at `/local`. */
  readonly disk: string;
  /** The lab's own files for guests, found under the same path in the guest. */
  readonly program: string;
  readonly boot: BootFiles;
  readonly memoryMb: number;
  /** Network devices: `eth0`, `eth1` and so on. */
  readonly networks: number;
}

const BOOT_TIMEOUT_MS = 240_000;
const SHARING_TIMEOUT_MS = 30_000;
const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';

export class VirtualMachine {
  readonly shell = new GuestShell();
  readonly monitor = new Monitor();
  readonly #options: MachineOptions;
  #qemu: BackgroundProcess | undefined;
  #files: BackgroundProcess | undefined;

  constructor(options: MachineOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get isOn(): boolean {
    return this.#qemu !== undefined && !this.#qemu.hasExited;
  }

  /** The socket of a network device. */
  networkSocket(network: number): string {
    return this.#path(`net${network}`);
  }

  /** The socket of the port that the driver in the guest serves. */
  get driverSocket(): string {
    return this.#path('driver');
  }

  get consoleLog(): string {
    return this.#path('console.log');
  }

  /** Starts the machine; `booted` tells when it serves commands. */
  async powerOn(): Promise<void> {
    const { directory } = this.#options;
    await mkdir(directory, { recursive: true });
    for (const socket of ['files', 'monitor', 'shell', 'driver', 'net0', 'net1']) {
      await rm(this.#path(socket), { force: true });
    }
    this.#files = await start(VIRTIOFSD, [
      `--socket-path=${this.#path('files')}`,
      ...['-o', 'source=/', '-o', 'sandbox=chroot', '-o', 'cache=always'],
    ]);
    await waitUntil('the shared root file system', SHARING_TIMEOUT_MS, () => exists(this.#path('files')));
    this.#qemu = await start('qemu-system-x86_64', this.#qemuArguments());
    await this.monitor.open(this.#path('monitor'), BOOT_TIMEOUT_MS);
  }

  async booted(): Promise<void> {
    await Promise.race([this.shell.open(this.#path('shell'), BOOT_TIMEOUT_MS), this.#ended()]);
  }

  /** Memory, caches and processors are gone at once. */
  async powerCut(): Promise<void> {
    await this.#qemu?.kill();
    await this.#files?.kill();
    const why = `${this.name} has lost its power`;
    this.shell.close(why);
    this.monitor.close(why);
  }

  async #ended(): Promise<never> {
    await this.#qemu?.exited;
    throw new Error(
      `${this.name} ended while it started: ${this.#qemu?.stderr ?? ''}, see ${this.consoleLog}`,
    );
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  #qemuArguments(): string[] {
    const { boot, memoryMb, disk, name, number, machineId, program, networks } = this.#options;
    // Without `no_timer_check` a machine that is short of processor time panics while it starts: "timer not connected to IO-APIC".
    const words = `quiet no_timer_check panic=-1 mitigations=off nokaslr tsc=reliable clocksource=acpi_pm audit=0 console=ttyS0`;
    return [
      ...['-machine', 'q35,hpet=off,vmport=off', '-accel', 'tcg,thread=multi', '-cpu', 'qemu64'],
      ...['-m', `${memoryMb}M`, '-smp', '1', '-nodefaults', '-no-user-config', '-no-reboot'],
      ...['-display', 'none', '-serial', `file:${this.consoleLog}`],
      ...['-kernel', boot.kernel, '-initrd', boot.initramfs],
      ...['-append', `${words} lab.name=${name} lab.machine=${machineId} lab.program=${program}`],
      ...[
        '-object',
        `memory-backend-memfd,id=memory,size=${memoryMb}M,share=on`,
        '-numa',
        'node,memdev=memory',
      ],
      ...['-chardev', `socket,id=files,path=${this.#path('files')}`],
      ...['-device', 'vhost-user-fs-pci,chardev=files,tag=rootfs'],
      ...['-drive', `if=none,id=disk,file=${disk},format=raw,cache=unsafe,discard=unmap`],
      ...['-device', 'virtio-blk-pci,drive=disk', '-device', 'virtio-rng-pci'],
      ...['-qmp', `unix:${this.#path('monitor')},server=on,wait=off`],
      ...['-device', 'virtio-serial-pci'],
      ...['shell', 'driver'].flatMap((port, at) => [
        ...['-chardev', `socket,id=${port},path=${this.#path(port)},server=on,wait=off`],
        ...['-device', `virtserialport,nr=${at + 1},chardev=${port},name=lab.${port}`],
      ]),
      ...Array.from({ length: networks }, (_, at) => [
        ...['-netdev', `stream,id=net${at},server=on,addr.type=unix,addr.path=${this.networkSocket(at)}`],
        ...['-device', `virtio-net-pci,netdev=net${at},mac=52:54:00:00:0${number}:0${at}`],
      ]).flat(),
    ];
  }
}

/** virtiofsd serves the first connection only, so that a trial connection would spend it. */
async function exists(path: string): Promise<true | undefined> {
  return await access(path).then(
    () => true,
    () => undefined,
  );
}

/** Ends with this process, even when that is killed. */
async function start(program: string, args: readonly string[]): Promise<BackgroundProcess> {
  return await BackgroundProcess.start('setpriv', ['--pdeathsig', 'KILL', program, ...args]);
}
