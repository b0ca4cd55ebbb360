/**
 * line-socket: a stream that speaks in lines, as the guests' serial ports do.
 */
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';

export class LineSocket {
  readonly #stream: Duplex;

  constructor(stream: Duplex, onLine: (line: string) => void) {
    this.#stream = stream;
    // Its end is the power cut of the guest; whoever waits for an answer then is told by the guest's machine.
    stream.on('error', () => undefined);
    createInterface(stream)
      .on('line', onLine)
      .on('error', () => undefined);
  }

  send(line: string): void {
    if (this.#stream.writable) this.#stream.write(`${line}\n`);
  }

  close(): void {
    this.#stream.destroy();
  }
}
