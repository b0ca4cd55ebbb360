/**
 * guest-driver: the lab's end of the driver in a guest.
 */
import type { Duplex } from 'node:stream';
import { waitUntil } from '../../fixtures/wait-until.js';
import type { DriverCall, DriverMessage, HttpAnswer } from '../guest/driver-protocol.js';
import { LineSocket } from './line-socket.js';
import { PendingAnswers } from './pending-answers.js';

export type DriverEvent = Exclude<DriverMessage, { kind: 'ready' | 'answer' | 'failure' }>;

const CALL_TIMEOUT_MS = 300_000;
const START_TIMEOUT_MS = 120_000;

export class GuestDriver {
  readonly #answers = new PendingAnswers<unknown>();
  readonly #onEvent: (event: DriverEvent) => void;
  #socket: LineSocket | undefined;
  #ready = false;

  constructor(onEvent: (event: DriverEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** To be called before the driver starts, so that nothing that it says is lost. */
  open(port: Duplex): void {
    this.#socket = new LineSocket(port, (line) => {
      this.#take(line);
    });
  }

  async ready(): Promise<void> {
    await waitUntil('the driver to be ready', START_TIMEOUT_MS, () => (this.#ready ? true : undefined));
  }

  async do(call: DriverCall): Promise<void> {
    await this.#call(call);
  }

  /** The number that a call is answered with. */
  async number(call: DriverCall & { kind: 'tpm-rest' }): Promise<number> {
    return (await this.#call(call)) as number;
  }

  async read(tpm: string): Promise<number | undefined> {
    return ((await this.#call({ kind: 'tpm-read', tpm })) as number | null) ?? undefined;
  }

  async request(call: Omit<Extract<DriverCall, { kind: 'request' }>, 'kind'>): Promise<HttpAnswer> {
    return (await this.#call({ kind: 'request', ...call })) as HttpAnswer;
  }

  close(why: string): void {
    this.#ready = false;
    this.#socket?.close();
    this.#answers.failAll(new Error(why));
  }

  async #call(call: DriverCall): Promise<unknown> {
    return await this.#answers.wait(JSON.stringify(call), CALL_TIMEOUT_MS, (id) => {
      this.#socket?.send(JSON.stringify({ id, call }));
    });
  }

  #take(line: string): void {
    const message = JSON.parse(line) as DriverMessage;
    switch (message.kind) {
      case 'ready':
        this.#ready = true;
        return;
      case 'answer':
        this.#answers.answer(message.id, message.result);
        return;
      case 'failure':
        this.#answers.fail(message.id, new Error(message.message));
        return;
      case 'writing':
      case 'wrote':
      case 'line':
      case 'exited':
        this.#onEvent(message);
    }
  }
}
