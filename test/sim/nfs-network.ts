/**
 * nfs-network: the way of a request to the server and of its reply, with all that can happen between.
 *
 *   transmit ──► waiting (link cut)                      ──heal──► transmit
 *      │ └─────► lost                                    ──retransmit──► transmit
 *      ▼
 *   arrive ────► waiting (server down)                   ──restart──► transmit
 *      │ └─────► put off (grace period)                  ──► arrive
 *      ▼
 *   execute ───► reply lost, link cut, or server crashed ──retransmit──► transmit
 *      ▼
 *   settle       the caller learns the outcome, unless its process is dead
 *
 * I1 What was transmitted cannot be recalled: the death of the process, a soft mount's time-out or a partition change only whether it is sent again.
 * I2 Requests arrive in any order. One process that awaits each reply keeps its own order, until it gives up waiting.
 * I3 A hard mount waits for ever. A soft mount answers `EIO` after its time, whether or not the request was or will be executed.
 */
import type { VirtualClock } from './clock.js';
import type { FaultProfile } from './fault-profile.js';
import type { NfsServer, Procedure } from './nfs-server.js';
import { deliver, type Outcome } from './outcome.js';
import type { SeededRandom } from './random.js';
import { systemError } from './system-error.js';

/** Who asks. A request whose process is dead is still the kernel's; without the kernel (power loss) nobody sends it again. */
export interface Origin {
  readonly host: string;
  readonly process: { readonly alive: boolean };
  readonly kernel: { readonly alive: boolean };
  /** Undefined for a hard mount. */
  readonly softTimeoutMs: number | undefined;
}

interface Request<T> {
  readonly id: number;
  readonly origin: Origin;
  readonly procedure: Procedure<T>;
  readonly settle: (outcome: Outcome<T>) => void;
  settled: boolean;
}

interface Link {
  cut: boolean;
  waiting: Request<unknown>[];
}

export interface NfsNetworkOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly server: NfsServer;
}

export class NfsNetwork {
  /** May be exchanged in the middle of a schedule. */
  faults: FaultProfile;
  readonly #clock: VirtualClock;
  readonly #random: SeededRandom;
  readonly #server: NfsServer;
  readonly #links = new Map<string, Link>();
  /** Requests that are held up on their way, and how to let them go. */
  readonly #held = new Set<() => void>();
  #waitingForServer: Request<unknown>[] = [];
  #requests = 0;
  /** Requests and replies that some timer moves on. */
  #underWay = 0;

  constructor({ clock, random, server }: NfsNetworkOptions, faults: FaultProfile) {
    this.#clock = clock;
    this.#random = random;
    this.#server = server;
    this.faults = faults;
  }

  /** Cuts a host off. What is on its way to the server arrives; replies do not. */
  partition(host: string): void {
    this.#link(host).cut = true;
  }

  heal(host: string): void {
    const link = this.#link(host);
    link.cut = false;
    for (const request of link.waiting.splice(0)) this.#transmitLater(request, this.faults.recoveryMs);
  }

  /** Whether anything is on its way. What waits for a link or the server is not. */
  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  /** What is held up arrives soon. */
  hasten(): void {
    for (const letGo of [...this.#held]) letGo();
  }

  serverRestarted(): void {
    for (const request of this.#waitingForServer.splice(0)) {
      this.#transmitLater(request, this.faults.recoveryMs);
    }
  }

  /** Settles with the server's outcome; never, when the process is dead by then. */
  send<T>(origin: Origin, procedure: Procedure<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: Outcome<T>): void => {
        if (request.settled) return;
        request.settled = true;
        stopWaiting?.();
        if (origin.process.alive && origin.kernel.alive) deliver(outcome, resolve, reject);
      };
      const request: Request<T> = { id: ++this.#requests, origin, procedure, settle, settled: false };
      const giveUp = (): void => {
        settle({ kind: 'failed', error: systemError('EIO', 'soft mount timed out') });
      };
      const { softTimeoutMs } = origin;
      const stopWaiting = softTimeoutMs === undefined ? undefined : this.#clock.after(softTimeoutMs, giveUp);
      this.#transmit(request as Request<unknown>);
    });
  }

  #transmit(request: Request<unknown>): void {
    const { origin } = request;
    if (!origin.kernel.alive) return;
    const abandoned = request.settled || !origin.process.alive;
    if (abandoned && !this.#random.chance(this.faults.abandonedSent)) return;
    const link = this.#link(origin.host);
    if (link.cut) {
      link.waiting.push(request);
      return;
    }
    if (this.#random.chance(this.faults.requestLost)) {
      this.#transmitLater(request, this.faults.retransmitMs);
      return;
    }
    this.#arriveLater(request, false);
    if (this.#random.chance(this.faults.duplicated)) this.#arriveLater(request, true);
  }

  #transmitLater(request: Request<unknown>, range: FaultProfile['retransmitMs']): void {
    this.#after(this.#random.between(range), () => {
      this.#transmit(request);
    });
  }

  #arriveLater(request: Request<unknown>, duplicate: boolean): void {
    const { latencyMs, delayed, delayMs } = this.faults;
    const held = duplicate || this.#random.chance(delayed) ? this.#random.between(delayMs) : 0;
    const arrive = (): void => {
      this.#held.delete(letGo);
      this.#arrive(request, duplicate);
    };
    const cancel = this.#after(this.#random.between(latencyMs) + held, arrive);
    const letGo = (): void => {
      this.#held.delete(letGo);
      cancel();
      this.#after(this.#random.between(this.faults.recoveryMs), arrive);
    };
    if (held > 0) this.#held.add(letGo);
  }

  #after(delayMs: number, move: () => void): () => void {
    this.#underWay += 1;
    const cancel = this.#clock.after(delayMs, () => {
      this.#underWay -= 1;
      move();
    });
    return () => {
      this.#underWay -= 1;
      cancel();
    };
  }

  #arrive(request: Request<unknown>, duplicate: boolean): void {
    const server = this.#server;
    if (!server.up) {
      if (!duplicate) this.#waitingForServer.push(request);
      return;
    }
    const graceLeftMs = server.graceLeftMs(request.procedure.name);
    if (graceLeftMs > 0) {
      this.#after(graceLeftMs + this.#random.between(this.faults.recoveryMs), () => {
        this.#arrive(request, duplicate);
      });
      return;
    }
    const forgetful = this.#random.chance(this.faults.replayForgotten);
    // A session's slot moves on once its reply was seen: what comes after that is refused, if it is recognised at all.
    if (request.settled && !forgetful && server.remembered(request.id)) return;
    const { boot } = server;
    const outcome = server.execute(request.id, request.origin.host, request.procedure, forgetful);
    this.#after(this.#random.between(this.faults.latencyMs), () => {
      this.#reply(request, outcome, boot, duplicate);
    });
  }

  #reply(request: Request<unknown>, outcome: Outcome<unknown>, boot: number, duplicate: boolean): void {
    const crashed = boot !== this.#server.boot;
    if (!crashed) this.#server.persist();
    if (request.settled || duplicate) return;
    if (crashed || this.#link(request.origin.host).cut || this.#random.chance(this.faults.replyLost)) {
      this.#transmitLater(request, this.faults.retransmitMs);
      return;
    }
    request.settle(outcome);
  }

  #link(host: string): Link {
    let link = this.#links.get(host);
    if (!link) this.#links.set(host, (link = { cut: false, waiting: [] }));
    return link;
  }
}
