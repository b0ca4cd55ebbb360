/**
 * cable: the network between two guests, carried by the lab itself, so that it can be cut from outside, in one direction or both.
 *
 * Each frame is a datagram on the loopback device, with the header of L2TPv3, which is the same in both directions and is passed on as it is. A
 * frame for a machine that is off or full is lost, as on a real wire.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

export type CableEnd = 'server' | 'host';

/** What becomes of the frame that a trap was laid for. */
export type Fate = 'lost' | 'delivered';

/** What a machine's network device is told of its end. */
export interface Plug {
  readonly address: string;
  /** Of the machine. */
  readonly port: number;
  /** Of the cable. */
  readonly peer: number;
}

interface Trap {
  readonly from: CableEnd;
  readonly fate: Fate;
  readonly isPrey: (frame: Buffer) => boolean;
  readonly onCaught: () => void;
}

const FIRST_PORT = 20_000;
let nextPort = FIRST_PORT;

export class Cable {
  readonly #ends: Readonly<Record<CableEnd, { readonly plug: Plug; readonly socket: Socket }>>;
  /** Ends whose frames are lost. */
  readonly #mute = new Set<CableEnd>();
  #trap: Trap | undefined;

  constructor() {
    this.#ends = { server: this.#makeEnd('server'), host: this.#makeEnd('host') };
  }

  /** Resolves when frames are carried. */
  async laid(): Promise<void> {
    await Promise.all(
      Object.values(this.#ends).map(async ({ plug, socket }) => {
        socket.bind(plug.peer, plug.address);
        await once(socket, 'listening');
      }),
    );
  }

  plug(end: CableEnd): Plug {
    return this.#ends[end].plug;
  }

  /** From now on nothing gets through: silence, not an error, for both ends. */
  cut(): void {
    this.#mute.add('server').add('host');
  }

  /** From now on what `end` sends is lost. */
  silence(end: CableEnd): void {
    this.#mute.add(end);
  }

  heal(): void {
    this.#mute.clear();
    this.#trap = undefined;
  }

  /** Does something in the very moment in which a certain frame is on the wire; once. */
  layTrap(trap: Trap): void {
    this.#trap = trap;
  }

  remove(): void {
    for (const { socket } of Object.values(this.#ends)) socket.close();
  }

  #makeEnd(end: CableEnd): { plug: Plug; socket: Socket } {
    const socket = createSocket('udp4', (frame) => {
      this.#deliver(end, frame);
    });
    const plug = { address: ownAddress(), port: nextPort, peer: nextPort + 1 };
    nextPort += 2;
    return { plug, socket };
  }

  #deliver(from: CableEnd, frame: Buffer): void {
    if (this.#mute.has(from) || this.#isTrapped(from, frame)) return;
    const { plug, socket } = this.#ends[from === 'server' ? 'host' : 'server'];
    socket.send(frame, plug.port, plug.address);
  }

  /** @returns whether the frame is lost */
  #isTrapped(from: CableEnd, frame: Buffer): boolean {
    const trap = this.#trap;
    if (trap?.from !== from || !trap.isPrey(frame)) return false;
    this.#trap = undefined;
    trap.onCaught();
    return trap.fate === 'lost';
  }
}

/** A loopback address that no other lab on this machine has at the same time. */
function ownAddress(): string {
  const { pid } = process;
  return `127.${64 + ((pid >> 16) & 63)}.${(pid >> 8) & 255}.${pid & 255}`;
}
