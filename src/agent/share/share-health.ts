/**
 * share-health: whether the share answers, as a state with hysteresis, and this host's heartbeat on it.
 *
 *   offline --1 beat--> online --2 failed beats--> offline
 *   any --marker missing or another share's--> wrong --1 beat--> online
 *
 * It begins offline, for nothing is known yet; `isAway` is true only of a share that was found to be away.
 *
 * I1 The share's identity, once known, never changes by itself: another share under the same path is `wrong`, not new.
 */
import { asMirrorError, type ErrorCode, type MirrorError } from '../../model/errors.js';
import { hostDoubled } from '../../volume/host-double.js';
import type { Double } from '../../volume/own-beat.js';
import type { AgentContext } from '../agent-context.js';
import { rememberShare } from './remember-share.js';
import { instant, mayCountAsDead, silentMs, type Instant } from './silence.js';

export type ShareState = 'online' | 'offline' | 'wrong';

export interface ShareHealthReport {
  readonly state: ShareState;
  readonly id: string;
  /** Of the last successful beat, ms. */
  readonly latencyMs: number;
  /** Since the last successful beat, ms; `undefined` before the first. */
  readonly beatAgeMs: number | undefined;
  readonly error: MirrorError | undefined;
  /** Another machine runs under this host's identity. */
  readonly double?: MirrorError | undefined;
}

export interface ShareHealthListener {
  /** The share has come back. */
  returned(): void;
  /** The share is away, or another one is in its place. */
  lost(): void;
  /** No beat of this host may have been seen for so long that others have taken it for dead, and taken over what it holds. */
  unheard(): void;
}

/** Failed beats in a row after which the share counts as offline. */
const FAILURES_TO_OFFLINE = 2;
/** What is there is not this host's share, and time alone changes nothing about it. */
const WRONG: ReadonlySet<ErrorCode> = new Set([
  'SHARE_WRONG',
  'SHARE_NOT_INITIALIZED',
  'SHARE_VERSION',
  'HOST_NAME_TAKEN',
  'SHARE_UNSUPPORTED',
]);

export function isWrongShare({ code }: Pick<MirrorError, 'code'>): boolean {
  return WRONG.has(code);
}

export class ShareHealth {
  readonly #context: AgentContext;
  readonly #listener: ShareHealthListener;
  #state: ShareState = 'offline';
  #shareId: string | undefined;
  #latencyMs = 0;
  #lastBeatMs: number | undefined;
  /** When the last successful beat was begun: after that, nobody need have seen this host. */
  #heardSince: Instant | undefined;
  #failures = 0;
  #error: MirrorError | undefined;
  #double: MirrorError | undefined;
  #mayBeDoubled = false;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(context: AgentContext, listener: ShareHealthListener) {
    this.#context = context;
    this.#listener = listener;
  }

  get isAway(): boolean {
    return this.#state !== 'online' && this.#failures > 0;
  }

  report(): ShareHealthReport {
    const beatAgeMs =
      this.#lastBeatMs === undefined ? undefined : this.#context.clock.monotonicMs() - this.#lastBeatMs;
    return {
      state: this.#state,
      id: this.#shareId ?? '',
      latencyMs: this.#latencyMs,
      beatAgeMs,
      error: this.#error,
      double: this.#double,
    };
  }

  /** Beats once and then for as long as this is open. */
  async start(): Promise<void> {
    this.#shareId = await this.#context.knownShare.read();
    await this.#beat();
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  /**
   * Goodbye, after `close`, of a host that holds nothing: other hosts see that it has left, where its silence would only tell them after a while that it has
   * expired. A share that is away is not waited for.
   */
  async leave(): Promise<void> {
    if (this.#state !== 'online') return;
    const { share, log } = this.#context;
    await share.leave({}).catch((error: unknown) => {
      const { code, message } = asMirrorError(error);
      log.info({ code }, `cannot say goodbye: ${message}`);
    });
  }

  async #beat(): Promise<void> {
    const { share, config, clock } = this.#context;
    const begun = instant(clock);
    try {
      const { latencyMs, double } = await share.beat({ shareId: this.#shareId });
      this.#shareId ??= await rememberShare(this.#context);
      this.#latencyMs = latencyMs;
      this.#lastBeatMs = clock.monotonicMs();
      this.#succeeded();
      this.#mindDouble(double);
      this.#mindSilence(begun);
    } catch (error) {
      this.#failed(asMirrorError(error));
    }
    if (this.#closed) return;
    this.#cancel = clock.after(config.timing.heartbeatMs, () => {
      void this.#beat();
    });
  }

  #succeeded(): void {
    const hadFailed = this.#failures > 0;
    const wasOnline = this.#state === 'online';
    this.#failures = 0;
    this.#error = undefined;
    this.#state = 'online';
    if (!wasOnline) {
      this.#context.log.info({ share: this.#shareId, latencyMs: this.#latencyMs }, 'share online');
    }
    // Also after one failed beat, which leaves the share online: what failed with it need not wait for its own pause.
    if (!wasOnline || hadFailed) this.#listener.returned();
  }

  /** @param begun when the beat that succeeded was begun: what others have seen of it, they may have seen then */
  #mindSilence(begun: Instant): void {
    const forMs = silentMs(this.#context, this.#heardSince ?? begun);
    this.#heardSince = begun;
    if (!mayCountAsDead(this.#context, forMs)) return;
    this.#context.log.warn({ silentMs: forMs }, 'no other host may have heard of this one for a while');
    this.#listener.unheard();
  }

  /** What may be this host's own past is told by a start that waits for it, and by nobody else. */
  #mindDouble(double: Double | undefined): void {
    const { log } = this.#context;
    const wasDoubled = this.#double !== undefined;
    this.#double = double?.isSeen ? hostDoubled(double) : undefined;
    if (this.#double && !wasDoubled) {
      log.error({ code: this.#double.code }, this.#double.message);
    } else if (!this.#double && wasDoubled) {
      log.warn({}, 'no other machine runs under the identity of this host any more');
    }
    // What was refused meanwhile need not wait for its own pause.
    if (!double && this.#mayBeDoubled) this.#listener.returned();
    this.#mayBeDoubled = double !== undefined;
  }

  #failed(error: MirrorError): void {
    const { log } = this.#context;
    this.#failures++;
    this.#error = error;
    const next = isWrongShare(error)
      ? 'wrong'
      : this.#failures >= FAILURES_TO_OFFLINE
        ? 'offline'
        : this.#state;
    if (next !== this.#state || this.#failures === 1) {
      log.warn({ code: error.code }, `share ${next}: ${error.message}`);
    }
    const isLost = next !== 'online' && (next !== this.#state || this.#failures === 1);
    this.#state = next;
    if (isLost) this.#listener.lost();
  }
}
