/**
 * host: a guest that runs VMs: an NFS client with its own disk, and the driver of its TPMs.
 */
import type { DriverEvent } from './guest-driver.js';
import { GuestDriver } from './guest-driver.js';
import type { Cable } from './cable.js';
import { EXPORT_ROOT, type ExportName } from './nfs-server.js';
import type { VirtualMachine } from './virtual-machine.js';

export type NfsVersion = '3' | '4.1' | '4.2';

export interface MountKind {
  readonly version: NfsVersion;
  readonly recovery: 'hard' | 'soft';
  readonly from: ExportName;
}

export const USUAL_MOUNT: MountKind = { version: '4.2', recovery: 'hard', from: 'main' };
export const MOUNT_POINT = '/mnt';
const BALLAST = '/local/ballast';
const DRIVER_PORT = '/dev/ttyS1';
/** Tenths of a second until a connection without an answer is made anew; the default of a minute would make healing slow. */
const TIMEO = 50;

export type HostEvent = DriverEvent & { readonly host: Host };

export class Host {
  readonly machine: VirtualMachine;
  readonly cable: Cable;
  /** 1 or 2: its network is 10.0.NUMBER.0/24. */
  readonly number: number;
  readonly #onEvent: (event: HostEvent) => void;
  readonly #program: string;
  #driver: GuestDriver | undefined;
  #mounted: string | undefined;

  constructor(
    machine: VirtualMachine,
    cable: Cable,
    number: number,
    program: string,
    onEvent: (event: HostEvent) => void,
  ) {
    this.machine = machine;
    this.cable = cable;
    this.number = number;
    this.#program = program;
    this.#onEvent = onEvent;
  }

  get name(): string {
    return this.machine.name;
  }

  get driver(): GuestDriver {
    if (!this.#driver) throw new Error(`${this.name} is not on`);
    return this.#driver;
  }

  /** After every power-on. */
  async serve(): Promise<void> {
    const { shell } = this.machine;
    this.#mounted = undefined;
    this.#driver = new GuestDriver((event) => {
      this.#onEvent({ ...event, host: this });
    });
    this.#driver.open(this.machine.driverPort);
    await shell.run(`
      ip addr add 10.0.${this.number}.2/24 dev eth0; ip link set eth0 up
      modprobe nfsv4; modprobe sch_netem
      nohup node ${this.#program}/driver.mjs ${DRIVER_PORT} >/run/lab/driver.log 2>&1 </dev/null &
    `);
    await this.#driver.ready();
  }

  /** Mounts the share, unless it is mounted so already. */
  async mount({ version, recovery, from }: MountKind): Promise<void> {
    const lockless = version === '3' ? ',nolock,mountport=20048,mountproto=tcp' : '';
    const options = `vers=${version},${recovery},timeo=${TIMEO},retrans=2,proto=tcp${lockless}`;
    const root = version === '3' ? EXPORT_ROOT : '';
    const wanted = `${options} 10.0.${this.number}.1:${root}/${from}`;
    if (this.#mounted === wanted) return;
    const { shell } = this.machine;
    if (this.#mounted !== undefined) await shell.run(`umount ${MOUNT_POINT}`);
    this.#mounted = undefined;
    await shell.run(`mount -t nfs -o ${wanted} ${MOUNT_POINT}`);
    this.#mounted = wanted;
  }

  /** Takes every byte that its own disk has left, until `freeDisk` or `tidy`. */
  async fillDisk(): Promise<void> {
    await this.machine.shell.run(`cat /dev/zero >${BALLAST} 2>/dev/null || true; sync ${BALLAST}`);
  }

  async freeDisk(): Promise<void> {
    await this.machine.shell.run(`rm -f ${BALLAST}`);
  }

  /** Ends everything that runs on it. */
  async clear(): Promise<void> {
    await this.driver.do({ kind: 'clear' });
  }

  /** As after the start, but for what runs, what is mounted and what lies on the disk; there is room on it. */
  async tidy(): Promise<void> {
    await this.freeDisk();
    await this.machine.shell.run(`
      tc qdisc del dev eth0 root 2>/dev/null || true
      date -s @${Math.floor(Date.now() / 1000)} >/dev/null
    `);
  }

  async powerCut(): Promise<void> {
    await this.machine.powerCut();
    this.#driver?.close(`${this.name} has lost its power`);
    this.#driver = undefined;
  }
}
