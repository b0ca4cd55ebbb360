/**
 * process-pool: the storage processes of one share: which one serves, what waits for it, when another is started.
 *
 * One process serves at a time. One that stalls is drained, then killed, and replaced (see `process-slot.ts`); what waits moves to the new one.
 * The first is started by the first request.
 *
 * I1 A request that is accepted is settled within its allowance, whatever the share does.
 * I2 Requests of one lane run one after another in the order of their arrival; lanes run in parallel, `inFlightMax` at a time; the
 *    heartbeat never waits for any of them.
 * I3 Everything is bounded: waiting requests by `queuePerVolumeMax` and `queueMax`, processes by `processesMax` (those that were killed and
 *    sleep on in the kernel included), starts by the restart policy. Past a bound a request fails at once instead of waiting.
 * I4 One sick volume cannot take all places: what a stuck process holds (a volume, or the share's
 *    own lane) is served only while another process could still be started. The process that would
 *    have to be started for it counts as started: the last place is for others, and for the
 *    heartbeat, which alone is never refused for its own stuck call.
 */
import type { Clock } from '../model/environment.js';
import type { MirrorError } from '../model/errors.js';
import type { Fork } from './child-channel.js';
import type { Lane } from './operations.js';
import { ProcessSlot, type SlotEnd, type SlotOwner } from './process-slot.js';
import { RequestQueue } from './request-queue.js';
import { RestartPolicy } from './restart-policy.js';
import type { ShareRequest } from './share-request.js';
import type { StorageEvent, StorageGauges } from './storage-events.js';
import {
  backingOff,
  closed,
  noAnswer,
  notBegun,
  processesStuck,
  queueFull,
  startFailed,
} from './storage-failures.js';
import type { StorageLimits } from './storage-limits.js';

/** Its lane is never refused for its own sake: without it a living host looks dead. */
const HEARTBEAT: Lane = 'heartbeat';

export interface PoolOptions {
  readonly fork: Fork;
  readonly clock: Clock;
  /** How long a draining process is left to those that wait for it. */
  readonly drainMs: number;
  readonly limits: StorageLimits;
  readonly emit: (event: StorageEvent) => void;
}

export class ProcessPool {
  readonly #options: PoolOptions;
  readonly #queue: RequestQueue<ShareRequest>;
  readonly #restarts: RestartPolicy;
  /** Every process that has not gone. */
  readonly #slots = new Set<ProcessSlot>();
  /** The one that takes requests, or is about to. */
  #current: ProcessSlot | undefined;
  #closing = false;
  #onIdle: (() => void)[] = [];

  constructor(options: PoolOptions) {
    this.#options = options;
    const { queuePerVolumeMax, queueMax, backOffFirstMs, backOffMaxMs } = options.limits;
    this.#queue = new RequestQueue({ perLaneMax: queuePerVolumeMax, totalMax: queueMax }, [
      'share',
      HEARTBEAT,
    ]);
    this.#restarts = new RestartPolicy({ firstMs: backOffFirstMs, maxMs: backOffMaxMs });
  }

  /** Whether a request can be sent without starting a process first. */
  get isServing(): boolean {
    return this.#current?.state === 'serving';
  }

  gauges(): StorageGauges {
    const slots = [...this.#slots];
    return {
      queued: this.#queue.size,
      inFlight: slots.reduce((sum, slot) => sum + slot.inFlight, 0),
      processes: slots.length,
      stuck: slots.filter((slot) => slot.state === 'killed').length,
    };
  }

  submit(request: ShareRequest): void {
    const refusal = this.#refusal(request) ?? this.#enqueue(request);
    if (refusal) request.reject(refusal);
    else this.#serve();
  }

  /** The caller's patience is over. What was sent goes on, and keeps its lane, until its process answers or is killed. */
  giveUp(request: ShareRequest): void {
    this.#queue.remove(request);
    request.reject(request.sent ? noAnswer(request) : notBegun(request, this.#queue.size));
  }

  /** Waiting requests fail; those that were sent get `drainMs` to end. The exit of a stuck process is not waited for. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#turnAway(({ name }) => closed(name));
    const idle = new Promise<void>((resolve) => {
      this.#onIdle.push(resolve);
    });
    for (const slot of this.#slots) slot.drain();
    this.#reportIdle();
    await idle;
  }

  #enqueue(request: ShareRequest): MirrorError | undefined {
    const { queuePerVolumeMax, queueMax } = this.#options.limits;
    switch (this.#queue.offer(request)) {
      case 'accepted':
        return undefined;
      case 'lane-full':
        return queueFull(
          request,
          request.volume === undefined ? 'its queue' : "its volume's queue",
          queuePerVolumeMax,
        );
      case 'queue-full':
        return queueFull(request, "the share's queue", queueMax);
    }
  }

  /** Why a request has no prospect of being served, if so. */
  #refusal({ name, lane }: ShareRequest): MirrorError | undefined {
    if (this.#closing) return closed(name);
    const { stuck, processes } = this.gauges();
    const { processesMax } = this.#options.limits;
    // Places taken once this request is served: by a process that must be started first, too.
    const toBe = processes + (this.#current ? 0 : 1);
    const places = lane !== HEARTBEAT && this.#isStuck(lane) ? processesMax - 1 : processesMax;
    if (toBe > places) return processesStuck(name, stuck, processesMax);
    if (this.#current) return undefined;
    const waitMs = this.#restarts.waitMs(this.#options.clock.monotonicMs());
    return waitMs > 0 ? backingOff(name, this.#restarts.failures, waitMs) : undefined;
  }

  #isStuck(lane: Lane): boolean {
    return [...this.#slots].some((slot) => slot.stuckLanes.includes(lane));
  }

  /** Sends what may be sent, and starts a process when there is none to send it to. */
  #serve(): void {
    if (this.#queue.size === 0) return;
    this.#current ??= this.#start();
    while (this.#current?.state === 'serving') {
      const mayAdd = this.#current.inFlight < this.#options.limits.inFlightMax;
      const request = this.#queue.take('reserved') ?? (mayAdd ? this.#queue.take('unreserved') : undefined);
      if (!request) return;
      this.#current.send(request);
    }
  }

  #start(): ProcessSlot | undefined {
    const { fork, clock, drainMs, limits, emit } = this.#options;
    try {
      const slot = new ProcessSlot(fork, { clock, startupMs: limits.startupMs, drainMs }, this.#owner);
      this.#slots.add(slot);
      emit({ kind: 'process-started', pid: slot.pid });
      return slot;
    } catch (error) {
      this.#restarts.failed(clock.monotonicMs());
      this.#startFailed(undefined, startFailed(error instanceof Error ? error.message : String(error)));
      return undefined;
    }
  }

  readonly #owner: SlotOwner = {
    ready: ({ pid }) => {
      this.#options.emit({ kind: 'process-ready', pid });
      this.#serve();
    },
    answered: (slot, { lane }) => {
      // A process that drains has shown that the share does not answer everything; a heartbeat that
      // was written shows that it answers again, whichever process wrote it.
      if (slot.state === 'serving' || lane === HEARTBEAT) this.#restarts.answered();
      this.#queue.finish(lane);
      this.#serve();
    },
    stalled: (slot, { name }) => {
      this.#options.emit({ kind: 'process-stalled', pid: slot.pid, request: name });
      this.#discard(slot);
      this.#reconsider();
    },
    ended: (slot, end, lanes) => {
      for (const lane of lanes) this.#queue.finish(lane);
      this.#reportEnd(slot, end, lanes.length);
      this.#reconsider();
      this.#reportIdle();
    },
    gone: (slot, how) => {
      this.#slots.delete(slot);
      this.#options.emit({ kind: 'process-gone', pid: slot.pid, how });
    },
  };

  #reportEnd(slot: ProcessSlot, end: SlotEnd, unanswered: number): void {
    const { pid } = slot;
    switch (end.kind) {
      case 'killed':
        this.#options.emit({ kind: 'process-killed', pid, unanswered });
        break;
      case 'crashed':
        this.#options.emit({ kind: 'process-failed', pid, why: end.how });
        this.#discard(slot);
        break;
      case 'start-failed':
        this.#discard(slot);
        this.#startFailed(pid, end.error);
        break;
    }
  }

  /** It serves no more, and that is a failure if it was the one to serve. */
  #discard(slot: ProcessSlot): void {
    if (slot !== this.#current) return;
    this.#current = undefined;
    this.#restarts.failed(this.#options.clock.monotonicMs());
  }

  /** Those who waited for the start learn why it failed. */
  #startFailed(pid: number | undefined, error: MirrorError): void {
    this.#options.emit({ kind: 'process-failed', pid, why: error.message });
    this.#turnAway(() => error);
  }

  /** What waits goes on, or is turned away when it has lost its prospect of being served. */
  #reconsider(): void {
    this.#turnAway((request) => this.#refusal(request));
    this.#serve();
  }

  /** Fails the waiting requests for which there is an error. */
  #turnAway(errorFor: (request: ShareRequest) => MirrorError | undefined): void {
    for (const request of this.#queue.waiting()) {
      const error = errorFor(request);
      if (!error) continue;
      this.#queue.remove(request);
      request.reject(error);
    }
  }

  #reportIdle(): void {
    if (!this.#closing || [...this.#slots].some(({ state }) => state !== 'killed')) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}
