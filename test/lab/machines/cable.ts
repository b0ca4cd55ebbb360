/**
 * cable: the network between two guests, carried by the lab itself, so that it can be cut from outside, in one direction or both.
 *
 * QEMU's stream network sends each frame with its length before it (32 bits, big-endian). A machine's end is plugged in anew whenever that machine
 * has started; a frame for an end without a machine is lost, as on a real wire.
 */
import type { Socket } from 'node:net';
import { waitUntil } from '../../fixtures/wait-until.js';
import { tryConnect } from './line-socket.js';

const LENGTH_BYTES = 4;
/** Frames that wait for a machine that does not read (a paused one); more are lost. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024;

export type CableEnd = 'server' | 'host';

/** What becomes of the frame that a trap was laid for. */
export type Fate = 'lost' | 'delivered';

interface Trap {
  readonly from: CableEnd;
  readonly fate: Fate;
  readonly isPrey: (frame: Buffer) => boolean;
  readonly onCaught: () => void;
}

export class Cable {
  readonly #sockets = new Map<CableEnd, Socket>();
  /** Ends whose frames are lost. */
  readonly #mute = new Set<CableEnd>();
  #trap: Trap | undefined;

  async plugIn(end: CableEnd, path: string, timeoutMs: number): Promise<void> {
    const socket = await waitUntil(`a network device at ${path}`, timeoutMs, () => tryConnect(path));
    this.#sockets.set(end, socket);
    let received: Buffer = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      received = this.#forward(end, Buffer.concat([received, chunk]));
    });
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

  unplug(end: CableEnd): void {
    this.#sockets.get(end)?.destroy();
    this.#sockets.delete(end);
  }

  /** @returns the bytes of the last, unfinished frame */
  #forward(from: CableEnd, bytes: Buffer): Buffer {
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      this.#deliver(from, bytes.subarray(at, end));
      at = end;
    }
    return bytes.subarray(at);
  }

  #deliver(from: CableEnd, frame: Buffer): void {
    const socket = this.#sockets.get(from === 'server' ? 'host' : 'server');
    if (!socket?.writable || this.#mute.has(from) || socket.writableLength > BACKLOG_BYTES_MAX) return;
    if (this.#isTrapped(from, frame)) return;
    socket.write(frame);
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
