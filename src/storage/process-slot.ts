/**
 * process-slot: one storage process, from its start to its exit.
 *
 *   starting --ready--> serving --a request stalls--> draining --nobody waits, or drainMs--> killed --exit--> gone
 *      |                   |                             |
 *      +--- failure -------+--- exit (a crash) ----------+---------------------------------> gone
 *
 * A request stalls when the process has not answered it in its patience, counted from the sending. Then the process takes no new request, and
 * is killed as soon as nobody waits for it: in a hung share that is as soon as the others have stalled too, but when one sick volume was the cause, the
 * operations of all others end in good order instead of as `OUTCOME_UNKNOWN`. `drainMs` bounds this.
 *
 * I1 Every request sent is settled once: answered, stalled, cut off by the kill, or crashed.
 * I2 A lane is free (`answered`, `ended`) only when its process has answered or was killed: two processes never work through one volume
 *    at a time. Not covered: the one system call in which a killed process sleeps. It may take place later; the protocol allows for that.
 * I3 The exit of a killed process is never waited for.
 */
import type { Clock } from '../model/environment.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { ChildChannel, Fork } from './child-channel.js';
import type { Lane } from './operations.js';
import { onOverrun } from './overrun-timer.js';
import type { ShareRequest } from './share-request.js';
import { crashed, cutOff, noAnswer, refusedToStart, startFailed } from './storage-failures.js';
import { isChildMessage, type Reply } from './wire.js';

export type SlotState = 'starting' | 'serving' | 'draining' | 'killed' | 'gone';

export interface SlotTiming {
  readonly clock: Clock;
  /** How long the process may take from its start to `ready`. */
  readonly startupMs: number;
  readonly drainMs: number;
}

/** Why a process takes no more requests. */
export type SlotEnd =
  | { readonly kind: 'killed' }
  | { readonly kind: 'crashed'; readonly how: string }
  | { readonly kind: 'start-failed'; readonly error: MirrorError };

export interface SlotOwner {
  /** It takes requests from now on. */
  ready(slot: ProcessSlot): void;
  /** A request was answered, perhaps too late for its caller; its lane is free. */
  answered(slot: ProcessSlot, request: ShareRequest): void;
  /** It drains: it takes no more requests. */
  stalled(slot: ProcessSlot, request: ShareRequest): void;
  /** It does nothing any more; the lanes are free. */
  ended(slot: ProcessSlot, end: SlotEnd, lanes: readonly Lane[]): void;
  /** The system has taken it back. */
  gone(slot: ProcessSlot, how: string): void;
}

interface Flight {
  readonly request: ShareRequest;
  readonly cancelStall: () => void;
}

export class ProcessSlot {
  readonly #timing: SlotTiming;
  readonly #owner: SlotOwner;
  readonly #channel: ChildChannel;
  readonly #flights = new Map<number, Flight>();
  #state: SlotState = 'starting';
  #stuckLanes: readonly Lane[] = [];
  /** Of the start, later of the drain. */
  #cancelTimer: () => void = () => undefined;

  /**
   * @throws what `fork` throws
   */
  constructor(fork: Fork, timing: SlotTiming, owner: SlotOwner) {
    this.#timing = timing;
    this.#owner = owner;
    this.#channel = fork({
      message: (message) => {
        this.#received(message);
      },
      ended: (how) => {
        this.#ended(how);
      },
    });
    this.#cancelTimer = onOverrun(timing.clock, timing.startupMs, () => {
      this.#failStart(startFailed(`it was not ready within ${String(timing.startupMs)} ms`));
    });
  }

  get pid(): number | undefined {
    return this.#channel.pid;
  }

  get state(): SlotState {
    return this.#state;
  }

  get inFlight(): number {
    return this.#flights.size;
  }

  /** What the process had not answered when it was killed. */
  get stuckLanes(): readonly Lane[] {
    return this.#stuckLanes;
  }

  /** Only while `serving`. */
  send(request: ShareRequest): void {
    const { id, operation, call } = request;
    const cancelStall = onOverrun(this.#timing.clock, request.patienceMs, () => {
      this.#stall(request);
    });
    this.#flights.set(id, { request, cancelStall });
    request.markSent();
    try {
      this.#channel.send({ kind: 'request', id, operation, call });
    } catch (error) {
      this.#answer(request, () => {
        request.reject(asMirrorError(error));
      });
    }
  }

  /** Lets what is under way end, within `drainMs`, and kills the process. */
  drain(): void {
    if (this.#state === 'starting') this.#kill({ kind: 'killed' });
    if (this.#state !== 'serving') return;
    this.#beginDrain();
    this.#killWhenDrained();
  }

  #received(message: unknown): void {
    // What a killed process said before its end comes too late for everybody.
    if (this.#state === 'killed' || this.#state === 'gone') return;
    if (!isChildMessage(message)) {
      this.#kill({ kind: 'crashed', how: 'it sent a message that is none of ours' });
    } else if (message.kind === 'ready') {
      this.#ready();
    } else if (message.kind === 'failed') {
      this.#failStart(refusedToStart(message.error));
    } else {
      this.#replied(message);
    }
  }

  #ready(): void {
    if (this.#state !== 'starting') return;
    this.#cancelTimer();
    this.#state = 'serving';
    this.#owner.ready(this);
  }

  #replied(reply: Reply): void {
    const flight = this.#flights.get(reply.id);
    if (!flight) return;
    this.#answer(flight.request, () => {
      if (reply.kind === 'result') flight.request.resolve(reply.result);
      else flight.request.reject(MirrorError.fromRecord(reply.error));
    });
  }

  #answer(request: ShareRequest, settle: () => void): void {
    this.#flights.get(request.id)?.cancelStall();
    this.#flights.delete(request.id);
    settle();
    this.#owner.answered(this, request);
    this.#killWhenDrained();
  }

  #stall(request: ShareRequest): void {
    request.reject(noAnswer(request));
    if (this.#state === 'serving') {
      this.#beginDrain();
      this.#owner.stalled(this, request);
    }
    this.#killWhenDrained();
  }

  #beginDrain(): void {
    this.#state = 'draining';
    this.#cancelTimer = onOverrun(this.#timing.clock, this.#timing.drainMs, () => {
      this.#kill({ kind: 'killed' });
    });
  }

  #killWhenDrained(): void {
    if (this.#state !== 'draining') return;
    const awaited = [...this.#flights.values()].some(({ request }) => !request.settled);
    if (!awaited) this.#kill({ kind: 'killed' });
  }

  #failStart(error: MirrorError): void {
    this.#kill({ kind: 'start-failed', error });
  }

  #kill(end: SlotEnd): void {
    this.#state = 'killed';
    this.#channel.kill();
    this.#stuckLanes = this.#cutOff((request) =>
      end.kind === 'crashed' ? crashed(request, end.how) : cutOff(request),
    );
    this.#owner.ended(this, end, this.#stuckLanes);
  }

  #ended(how: string): void {
    const before = this.#state;
    if (before === 'gone') return;
    this.#state = 'gone';
    this.#owner.gone(this, how);
    if (before === 'killed') return;
    const lanes = this.#cutOff((request) => crashed(request, how));
    const end: SlotEnd =
      before === 'starting' ? { kind: 'start-failed', error: startFailed(how) } : { kind: 'crashed', how };
    this.#owner.ended(this, end, lanes);
  }

  /** Fails whatever still waits for this process. */
  #cutOff(errorFor: (request: ShareRequest) => MirrorError): Lane[] {
    this.#cancelTimer();
    const flights = [...this.#flights.values()];
    this.#flights.clear();
    for (const { request, cancelStall } of flights) {
      cancelStall();
      request.reject(errorFor(request));
    }
    return flights.map(({ request }) => request.lane);
  }
}
