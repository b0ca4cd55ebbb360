/**
 * archive-reads: reading many archives of one volume, any of which may fail or hang by itself: a bad
 * sector of the server, a dead client that keeps others from a file, whatever somebody put in its place.
 *
 * I1 One archive that cannot be read, for whatever reason, is told as such, and the others are read.
 * I2 One that does not answer takes `generationReadMs` and a thread; all of them together
 *    `READS_MAX` times as long, so that what was found is told within what the operation may take.
 * I3 A share that does not answer is no verdict about any archive: after each failure it is asked for a
 *    listing, and when that fails, too, so does the operation.
 */
import { asMirrorError, MirrorError, type ErrorCode } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { isUnreadable, partSource } from './fetch.js';
import type { PartSource } from './part-source.js';
import { volumePaths, type ShareContext } from './share-context.js';
import { shareError } from './share-errors.js';
import { within } from './within.js';

/** Of `WHOLE_VOLUME_FACTOR` deadlines that the operation has. */
const READS_MAX = 4;

/** What one archive alone can be at fault for, while the share answers. */
const ITS_OWN: ReadonlySet<ErrorCode> = new Set([
  'SHARE_TIMEOUT',
  'SHARE_UNAVAILABLE',
  'SHARE_DENIED',
  'SHARE_TAMPERED',
  'VOLUME_DAMAGED',
]);

export type Attempt<Result> =
  | { readonly kind: 'read'; readonly value: Result }
  | { readonly kind: 'unread'; readonly error: MirrorError }
  /** No time is left for it. */
  | { readonly kind: 'skipped'; readonly error: MirrorError };

export class ArchiveReads {
  readonly #context: ShareContext;
  readonly #uuid: DomainUuid;
  readonly #endMs: number;
  /** What several of them have in one is read once. */
  readonly parts: PartSource;

  constructor(context: ShareContext, uuid: DomainUuid) {
    this.#context = context;
    this.#uuid = uuid;
    this.parts = partSource(context, uuid);
    const { clock, generationReadMs = Number.POSITIVE_INFINITY } = context;
    this.#endMs = clock.monotonicMs() + READS_MAX * generationReadMs;
  }

  /**
   * @param what completes "cannot read …"
   * @throws MirrorError `SHARE_*` when the share does not answer; whatever is no fault of an archive
   */
  async attempt<Result>(what: string, read: () => Promise<Result>): Promise<Attempt<Result>> {
    const { clock, generationReadMs } = this.#context;
    if (clock.monotonicMs() >= this.#endMs) return { kind: 'skipped', error: this.#skipped(what) };
    try {
      const late = (): MirrorError => noAnswer(what, generationReadMs ?? 0);
      return { kind: 'read', value: await within(clock, generationReadMs, read, late) };
    } catch (error) {
      const cause = isUnreadable(error) ? asMirrorError(error) : shareError(`read ${what}`, error);
      if (!isUnreadable(cause)) {
        if (!ITS_OWN.has(cause.code)) throw cause;
        await this.#expectAnswer(cause);
      }
      return { kind: 'unread', error: cause };
    }
  }

  /** I3. */
  async #expectAnswer(cause: MirrorError): Promise<void> {
    const { fs, clock, generationReadMs } = this.#context;
    const { root } = volumePaths(this.#context, this.#uuid);
    try {
      await within(
        clock,
        generationReadMs,
        () => fs.readdir('reads:readdir', root),
        () => cause,
      );
    } catch (error) {
      throw shareError(`list ${root}`, error);
    }
  }

  #skipped(what: string): MirrorError {
    return new MirrorError(
      'SHARE_TIMEOUT',
      `${what} was not read: too much of ${this.#uuid} came before it`,
      {
        next: 'see what else the volume holds, and mend what it is told with; then try again',
        retriable: true,
      },
    );
  }
}

function noAnswer(what: string, ms: number): MirrorError {
  return new MirrorError(
    'SHARE_TIMEOUT',
    `cannot read ${what}: no answer within ${String(ms)} ms, while the share answers otherwise`,
    {
      next: 'look at that file from another host: a dead host’s client may keep it, or the server’s disk fail',
      retriable: true,
    },
  );
}
