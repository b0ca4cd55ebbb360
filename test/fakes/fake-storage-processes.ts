/**
 * fake-storage-processes: storage processes in name only, which do what a test tells them.
 */
import type { ErrorRecord } from '../../src/model/errors.js';
import type { ChildListener, Fork } from '../../src/storage/child-channel.js';
import type { RequestMessage } from '../../src/storage/wire.js';
import type { ShareOperation } from '../../src/volume/share-administration.js';

const FIRST_PID = 1001;

export class FakeStorageProcess {
  readonly pid: number;
  readonly #listener: ChildListener;
  readonly #received: RequestMessage[] = [];
  readonly #unanswered: RequestMessage[] = [];
  #isKilled = false;

  constructor(pid: number, listener: ChildListener) {
    this.pid = pid;
    this.#listener = listener;
  }

  get isKilled(): boolean {
    return this.#isKilled;
  }

  /** Every operation it was told, with its volume's last letter: `publish a`. */
  get received(): string[] {
    return this.#received.map(labelOf);
  }

  get unanswered(): string[] {
    return this.#unanswered.map(labelOf);
  }

  receive(request: RequestMessage): void {
    this.#received.push(request);
    this.#unanswered.push(request);
  }

  markKilled(): void {
    this.#isKilled = true;
  }

  ready(): void {
    this.say({ kind: 'ready' });
  }

  /** Answers the oldest unanswered request, or the oldest of that label. */
  answer(result: unknown, label?: string): void {
    this.say({ kind: 'result', id: this.#next(label).id, result });
  }

  refuse(error: ErrorRecord, label?: string): void {
    this.say({ kind: 'error', id: this.#next(label).id, error });
  }

  say(message: unknown): void {
    this.#listener.message(message);
  }

  exit(how: string): void {
    this.#listener.ended(how);
  }

  #next(label: string | undefined): RequestMessage {
    const at = this.#unanswered.findIndex((request) => label === undefined || labelOf(request) === label);
    const [request] = at < 0 ? [] : this.#unanswered.splice(at, 1);
    if (!request) throw new Error(`process ${this.pid} has no unanswered request ${label ?? ''}`);
    return request;
  }
}

function labelOf({ operation, call }: { operation: ShareOperation; call: object }): string {
  return 'uuid' in call ? `${operation} ${String(call.uuid).slice(-1)}` : operation;
}

export class FakeStorageProcesses {
  readonly all: FakeStorageProcess[] = [];
  /** Thrown by the next fork. */
  forkError: Error | undefined;

  readonly fork: Fork = (listener) => {
    if (this.forkError) throw this.forkError;
    const child = new FakeStorageProcess(FIRST_PID + this.all.length, listener);
    this.all.push(child);
    return {
      pid: child.pid,
      send: (request) => {
        child.receive(request);
      },
      kill: () => {
        child.markKilled();
      },
    };
  };

  /** The youngest. */
  get latest(): FakeStorageProcess {
    const child = this.all.at(-1);
    if (!child) throw new Error('no storage process was started');
    return child;
  }
}
