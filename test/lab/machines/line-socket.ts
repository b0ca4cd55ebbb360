/**
 * line-socket: a unix socket that speaks in lines, as the guests' ports and QEMU's monitor do.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { waitUntil } from '../../fixtures/wait-until.js';

export class LineSocket {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Connects as soon as somebody listens at `path`. */
  static async connect(path: string, timeoutMs: number, onLine: (line: string) => void): Promise<LineSocket> {
    const socket = await waitUntil(`a listener at ${path}`, timeoutMs, () => tryConnect(path));
    // Its end is the power cut of the guest; whoever waits for an answer then is told by the guest's machine.
    socket.on('error', () => undefined);
    createInterface(socket)
      .on('line', onLine)
      .on('error', () => undefined);
    return new LineSocket(socket);
  }

  send(line: string): void {
    if (this.#socket.writable) this.#socket.write(`${line}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}

export function tryConnect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', () => {
      resolve(undefined);
    });
  });
}
