/**
 * domain-record: keeps a domain's journal record in step with its lifecycle.
 *
 * Writes are durable and therefore slow, so they are made one at a time and only the newest content waits.
 */
import type { Journal } from '../../host/journal.js';
import type { DomainPhase, JournalRecord } from '../../host/journal-record.js';
import type { Capture } from '../../model/capture.js';
import type { Clock } from '../../model/environment.js';
import { asMirrorError, type MirrorError } from '../../model/errors.js';
import { tpmDigest } from '../../model/hash.js';
import { isHostName, type DomainUuid } from '../../model/identifiers.js';
import { epochOf, isClaiming, isHolding } from '../../model/hold.js';
import type { Lifecycle, PublishedState } from '../../model/lifecycle-state.js';
import { HANDED_OVER } from '../../model/log-entry.js';
import type { AgentContext } from '../agent-context.js';

const FULL_DIGEST_DIGITS = 64;
/** More than libvirt takes; with every character escaped it still fits into a journal record. */
export const DOMAIN_NAME_CHARACTERS_MAX = 255;

export class DomainRecord {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #uuid: DomainUuid;
  readonly #onWritten: (error: MirrorError | undefined) => void;
  #current: JournalRecord | undefined;
  #written: JournalRecord | undefined;
  #saving: Promise<void> | undefined;
  #isClaiming = false;
  /** The last state that was read of the present run. */
  #lastRead: { readonly digest: string; readonly tpm: string } | undefined;
  #error: MirrorError | undefined;

  constructor(
    { journal, clock, bootId }: Pick<AgentContext, 'journal' | 'clock' | 'bootId'>,
    uuid: DomainUuid,
    onWritten: (error: MirrorError | undefined) => void,
  ) {
    this.#onWritten = onWritten;
    this.#journal = journal;
    this.#clock = clock;
    this.#bootId = bootId;
    this.#uuid = uuid;
  }

  get current(): JournalRecord | undefined {
    return this.#current;
  }

  async load(): Promise<JournalRecord | undefined> {
    this.#current = this.#written = await this.#journal.read(this.#uuid);
    return this.#current;
  }

  change(
    fields: Partial<
      Pick<
        JournalRecord,
        | 'name'
        | 'byHook'
        | 'shareId'
        | 'nvramPath'
        | 'nvram'
        | 'tpm'
        | 'unread'
        | 'live'
        | 'takenOver'
        | 'arrival'
        | 'unstored'
      >
    >,
  ): void {
    this.#current = { ...(this.#current ?? this.#blank()), ...fields };
  }

  /** What lies on the disk was judged in this boot: a start was allowed with it. */
  judged(): void {
    this.#current = { ...(this.#current ?? this.#blank()), bootId: this.#bootId, awaitedInBoot: '' };
  }

  /** A migration brings the newest state in this boot, if it succeeds. */
  awaiting(): void {
    this.#current = { ...(this.#current ?? this.#blank()), awaitedInBoot: this.#bootId };
  }

  /** The migration has succeeded. A boot later, a disk that lost its power may hold what lay there before it. */
  arrived(): void {
    if (this.#current?.awaitedInBoot === this.#bootId) this.judged();
  }

  /** A state of the present run was read. */
  wasRead({ digest, files }: Capture): void {
    this.#lastRead = { digest, tpm: tpmDigest(files) };
  }

  /** Takes from the lifecycle what must outlive this process. */
  follow(state: Lifecycle, identity: string | undefined): void {
    const known = this.#current ?? this.#blank();
    // What a swtpm wrote since is another run's, even if that never came to be one.
    if (state.run === 'prepared' || state.run === 'incoming') this.#lastRead = undefined;
    const { hold, published, outdated } = state;
    this.#current = {
      ...known,
      phase: phaseOf(state),
      runBootId: this.#bootId,
      holding: isHolding(hold) || (state.run === 'incoming' && hold.kind === 'wanted'),
      claiming: isClaiming(hold),
      // Without a claim of its own the last one that is known goes on to tell whose claims came after it.
      epoch: epochOf(hold) > 0 ? epochOf(hold) : known.epoch,
      slot: published?.slot ?? known.slot,
      digest: digestOf(published, known),
      finalTpm: this.#finalTpm(state, known),
      publishedAt: publishedAt(published, known),
      // Of a run that never held the volume it is not known to be the volume's TPM.
      identity: epochOf(hold) > 0 && hold.kind !== 'fenced' ? (identity ?? known.identity) : known.identity,
      fenced:
        hold.kind === 'fenced' && isHostName(hold.by)
          ? (known.fenced ?? { host: hold.by, epoch: hold.epoch, at: this.#now() })
          : null,
      // Until the volume is held again, what lies on the disk is of the boot before and not judged yet; and what lost then still lies there.
      bootId: hold.kind === 'held' && outdated.length === 0 ? this.#bootId : known.bootId,
    };
    if (this.#isClaiming) this.#noteClaim(state);
  }

  #finalTpm(state: Lifecycle, known: JournalRecord): string | null {
    const phase = phaseOf(state);
    if (phase === 'leaving') return known.finalTpm;
    if (phase !== 'stopped') return null;
    const last = this.#lastRead;
    if (last && isStored(state, last.digest)) return last.tpm;
    return known.phase === 'stopped' || known.phase === 'leaving' ? known.finalTpm : null;
  }

  /**
   * A claim is about to be made, outside the lifecycle: what a crash leaves from here on, until `claimed`, is a claim to give back. Resolves when that is
   * durable.
   *
   * @throws MirrorError when it cannot be written
   */
  async claiming(state: Lifecycle): Promise<void> {
    this.#isClaiming = true;
    this.#noteClaim(state);
    await this.saved();
  }

  /** What became of that claim is the lifecycle's to tell from now on. */
  claimed(): void {
    this.#isClaiming = false;
  }

  /** In every other state the next run of this program looks for a claim of its own anyway. */
  #noteClaim({ run, hold }: Lifecycle): void {
    const known = this.#current ?? this.#blank();
    if (run === 'stopped') this.#current = { ...known, phase: 'leaving', holding: true, claiming: true };
    else if (hold.kind === 'fenced') this.#current = { ...known, holding: true };
  }

  /**
   * Resolves when the newest content is durable.
   *
   * @throws MirrorError when it cannot be written; asked again, it is tried again
   */
  async saved(): Promise<void> {
    this.save();
    while (this.#saving) await this.#saving;
    if (this.#error) throw this.#error;
  }

  /** Makes the newest content durable when it gets to it; the outcome goes to `onWritten`. */
  save(): void {
    if (this.#saving || !this.#current || isSame(this.#current, this.#written)) return;
    this.#saving = this.#write(this.#current).finally(() => {
      this.#saving = undefined;
      // What changed while this was written; after a failure the next change or the next `saved` tries again.
      if (!this.#error) this.save();
    });
  }

  /** Writes what could not be written: of a domain that is at rest nothing else would ever try it again. */
  retry(): void {
    if (this.#error) this.save();
  }

  async #write(record: JournalRecord): Promise<void> {
    try {
      await this.#journal.write({ ...record, updatedAt: this.#now() });
      this.#written = record;
      this.#error = undefined;
    } catch (error) {
      // Nobody knows what stands there now: whatever is wanted next is written, the old content too.
      this.#written = undefined;
      this.#error = asMirrorError(error);
    }
    this.#onWritten(this.#error);
  }

  #blank(): JournalRecord {
    return { ...blankRecord(this.#uuid), runBootId: this.#bootId };
  }

  #now(): string {
    return new Date(this.#clock.nowMs()).toISOString();
  }
}

/** Of a domain of which nothing is known. */
export function blankRecord(uuid: DomainUuid): JournalRecord {
  return {
    format: 1,
    uuid,
    name: '',
    byHook: false,
    shareId: null,
    phase: 'stopped',
    epoch: 0,
    holding: false,
    claiming: false,
    slot: 0,
    digest: null,
    finalTpm: null,
    unstored: null,
    publishedAt: null,
    identity: null,
    fenced: null,
    nvramPath: null,
    nvram: null,
    tpm: null,
    unread: [],
    live: null,
    runBootId: '',
    bootId: '',
    awaitedInBoot: '',
    arrival: null,
    takenOver: null,
    updatedAt: '',
  };
}

/** Whether a run that has ended left this where it is not lost: under the head, or as a diverged copy. */
function isStored({ published, pending, outdated, reading }: Lifecycle, digest: string): boolean {
  if (pending || (reading.kind === 'taken' && reading.foreign)) return false;
  return outdated.includes(digest) || (published !== undefined && digest.startsWith(published.digest));
}

/** The whole content digest of what is published, where it is known; a name in the log gives a prefix. */
function digestOf(published: PublishedState | undefined, known: JournalRecord): string | null {
  if (published === undefined || known.digest?.startsWith(published.digest)) return known.digest;
  return published.digest.length === FULL_DIGEST_DIGITS ? published.digest : null;
}

function publishedAt(published: PublishedState | undefined, known: JournalRecord): string | null {
  if (published?.at !== undefined) return published.at;
  return published === undefined || published.slot === known.slot ? known.publishedAt : null;
}

function phaseOf({ run, hold, capturesOver, reason }: Lifecycle): DomainPhase {
  const isAway = reason === HANDED_OVER;
  if (run === 'stopped') return isAway ? 'away' : 'stopped';
  if (run === 'finishing' && capturesOver) return isAway ? 'handed-over' : 'leaving';
  // Until the volume is claimed, a restart of this program must go on waiting for the source.
  const isArrival = run !== 'incoming' && hold.kind === 'wanted' && hold.how === 'migration';
  return isArrival ? 'arrived' : run;
}

function isSame(one: JournalRecord, other: JournalRecord | undefined): boolean {
  if (!other) return false;
  const fields = Object.keys(one) as (keyof JournalRecord)[];
  return fields.every((field) => field === 'updatedAt' || one[field] === other[field]);
}
