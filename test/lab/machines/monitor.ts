/**
 * monitor: QEMU's own control channel (QMP), for what is done to a machine from outside.
 */
import { z } from 'zod';
import { LineSocket } from './line-socket.js';
import { PendingAnswers } from './pending-answers.js';

const MESSAGE = z.object({
  id: z.number().optional(),
  return: z.unknown().optional(),
  error: z.object({ desc: z.string() }).optional(),
});
const ANSWER_TIMEOUT_MS = 30_000;

export class Monitor {
  readonly #answers = new PendingAnswers<unknown>();
  #socket: LineSocket | undefined;

  async open(path: string, timeoutMs: number): Promise<void> {
    this.#socket = await LineSocket.connect(path, timeoutMs, (line) => {
      this.#take(line);
    });
    await this.#execute('qmp_capabilities');
  }

  /** Halts every CPU of the machine. */
  async pause(): Promise<void> {
    await this.#execute('stop');
  }

  async resume(): Promise<void> {
    await this.#execute('cont');
  }

  close(why: string): void {
    this.#socket?.close();
    this.#answers.failAll(new Error(why));
  }

  async #execute(command: string): Promise<unknown> {
    return await this.#answers.wait(command, ANSWER_TIMEOUT_MS, (id) => {
      this.#socket?.send(JSON.stringify({ execute: command, id }));
    });
  }

  #take(line: string): void {
    const { id, error, ...rest } = MESSAGE.parse(JSON.parse(line));
    if (id === undefined) return;
    if (error) this.#answers.fail(id, new Error(`QEMU refused: ${error.desc}`));
    else this.#answers.answer(id, rest.return);
  }
}
