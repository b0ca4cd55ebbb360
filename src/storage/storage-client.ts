/**
 * storage-client: the share as the rest of the host sees it. Every operation is done by the storage process; this process never
 * touches a path of the share, so a share that hangs blocks nothing but the operations that want it.
 *
 * I1 A call ends within its deadline (and the start-up allowance, when a storage process has to be started first), whatever the share
 *    does; a call that has no prospect of being served fails at once.
 * I2 A commit that may have been sent ends as answered or as `OUTCOME_UNKNOWN`. Every other failure of this client changed nothing
 *    that a reader sees.
 *
 * Queues, processes and their bounds are `process-pool.ts`.
 *
 * Not guaranteed: that an operation that failed here does not take place later. The system call in which a killed process sleeps may run
 * when the mount answers again.
 */
import type { Clock } from '../model/environment.js';
import { asMirrorError, type ErrorCode } from '../model/errors.js';
import type { ShareOperation, ShareService } from '../volume/share-administration.js';
import type { Fork } from './child-channel.js';
import { volumeOf, type CallOf, type ResultOf } from './operations.js';
import { ProcessPool } from './process-pool.js';
import { ShareRequest } from './share-request.js';
import type { StorageEvent, StorageGauges } from './storage-events.js';
import { DEFAULT_STORAGE_LIMITS, type StorageLimits } from './storage-limits.js';

export interface StorageClientOptions {
  readonly fork: Fork;
  readonly clock: Clock;
  /** How long an answer of the share may take; operations over whole volumes get `WHOLE_VOLUME_FACTOR` times as long. */
  readonly deadlineMs: number;
  /** @default DEFAULT_STORAGE_LIMITS */
  readonly limits?: Partial<StorageLimits>;
  readonly onEvent?: (event: StorageEvent) => void;
}

export class StorageClient implements ShareService {
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #limits: StorageLimits;
  readonly #emit: (event: StorageEvent) => void;
  readonly #pool: ProcessPool;
  #requests = 0;

  constructor({ fork, clock, deadlineMs, limits, onEvent }: StorageClientOptions) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
    this.#limits = { ...DEFAULT_STORAGE_LIMITS, ...limits };
    this.#emit = onEvent ?? (() => undefined);
    this.#pool = new ProcessPool({
      fork,
      clock,
      drainMs: deadlineMs,
      limits: this.#limits,
      emit: this.#emit,
    });
  }

  initialise(call: CallOf<'initialise'>): Promise<ResultOf<'initialise'>> {
    return this.#request('initialise', call);
  }

  identify(call: CallOf<'identify'>): Promise<ResultOf<'identify'>> {
    return this.#request('identify', call);
  }

  beat(call: CallOf<'beat'>): Promise<ResultOf<'beat'>> {
    return this.#request('beat', call);
  }

  leaveFormerNames(call: CallOf<'leaveFormerNames'>): Promise<ResultOf<'leaveFormerNames'>> {
    return this.#request('leaveFormerNames', call);
  }

  leave(call: CallOf<'leave'>): Promise<ResultOf<'leave'>> {
    return this.#request('leave', call);
  }

  list(call: CallOf<'list'>): Promise<ResultOf<'list'>> {
    return this.#request('list', call);
  }

  inspect(call: CallOf<'inspect'>): Promise<ResultOf<'inspect'>> {
    return this.#request('inspect', call);
  }

  claim(call: CallOf<'claim'>): Promise<ResultOf<'claim'>> {
    return this.#request('claim', call);
  }

  publish(call: CallOf<'publish'>): Promise<ResultOf<'publish'>> {
    return this.#request('publish', call);
  }

  closeEpoch(call: CallOf<'closeEpoch'>): Promise<ResultOf<'closeEpoch'>> {
    return this.#request('closeEpoch', call);
  }

  fetch(call: CallOf<'fetch'>): Promise<ResultOf<'fetch'>> {
    return this.#request('fetch', call);
  }

  diverge(call: CallOf<'diverge'>): Promise<ResultOf<'diverge'>> {
    return this.#request('diverge', call);
  }

  tidy(call: CallOf<'tidy'>): Promise<ResultOf<'tidy'>> {
    return this.#request('tidy', call);
  }

  placeLive(call: CallOf<'placeLive'>): Promise<ResultOf<'placeLive'>> {
    return this.#request('placeLive', call);
  }

  readLive(call: CallOf<'readLive'>): Promise<ResultOf<'readLive'>> {
    return this.#request('readLive', call);
  }

  lookLive(call: CallOf<'lookLive'>): Promise<ResultOf<'lookLive'>> {
    return this.#request('lookLive', call);
  }

  removeLive(call: CallOf<'removeLive'>): Promise<ResultOf<'removeLive'>> {
    return this.#request('removeLive', call);
  }

  history(call: CallOf<'history'>): Promise<ResultOf<'history'>> {
    return this.#request('history', call);
  }

  verify(call: CallOf<'verify'>): Promise<ResultOf<'verify'>> {
    return this.#request('verify', call);
  }

  purge(call: CallOf<'purge'>): Promise<ResultOf<'purge'>> {
    return this.#request('purge', call);
  }

  pin(call: CallOf<'pin'>): Promise<ResultOf<'pin'>> {
    return this.#request('pin', call);
  }

  unpin(call: CallOf<'unpin'>): Promise<ResultOf<'unpin'>> {
    return this.#request('unpin', call);
  }

  pins(call: CallOf<'pins'>): Promise<ResultOf<'pins'>> {
    return this.#request('pins', call);
  }

  fetchPin(call: CallOf<'fetchPin'>): Promise<ResultOf<'fetchPin'>> {
    return this.#request('fetchPin', call);
  }

  reseal(call: CallOf<'reseal'>): Promise<ResultOf<'reseal'>> {
    return this.#request('reseal', call);
  }

  setEscrow(call: CallOf<'setEscrow'>): Promise<ResultOf<'setEscrow'>> {
    return this.#request('setEscrow', call);
  }

  declareFenced(call: CallOf<'declareFenced'>): Promise<ResultOf<'declareFenced'>> {
    return this.#request('declareFenced', call);
  }

  survey(call: CallOf<'survey'>): Promise<ResultOf<'survey'>> {
    return this.#request('survey', call);
  }

  examine(call: CallOf<'examine'>): Promise<ResultOf<'examine'>> {
    return this.#request('examine', call);
  }

  summarise(call: CallOf<'summarise'>): Promise<ResultOf<'summarise'>> {
    return this.#request('summarise', call);
  }

  gauges(): StorageGauges {
    return this.#pool.gauges();
  }

  /**
   * Ends the storage processes: waiting requests fail, and those that were sent get one share deadline to end. Resolves when nothing of this client
   * is under way any more, but does not wait for the exit of a process that is stuck.
   */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #request<Operation extends ShareOperation>(
    operation: Operation,
    call: CallOf<Operation>,
  ): Promise<ResultOf<Operation>> {
    const began = this.#clock.monotonicMs();
    let outcome: 'ok' | ErrorCode = 'ok';
    try {
      // The storage process ran the same operation of a `ShareService`, so its result is what that declares.
      return (await this.#submit(operation, call)) as ResultOf<Operation>;
    } catch (error) {
      outcome = asMirrorError(error).code;
      throw error;
    } finally {
      const durationMs = this.#clock.monotonicMs() - began;
      this.#emit({ kind: 'request-ended', operation, volume: volumeOf(call), durationMs, outcome });
    }
  }

  #submit(operation: ShareOperation, call: object): Promise<unknown> {
    const request = new ShareRequest(++this.#requests, operation, call, {
      clock: this.#clock,
      deadlineMs: this.#deadlineMs,
      startupMs: this.#pool.isServing ? 0 : this.#limits.startupMs,
      onOverrun: (late) => {
        this.#pool.giveUp(late);
      },
    });
    this.#pool.submit(request);
    return request.answer;
  }
}
