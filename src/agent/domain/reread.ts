/**
 * reread: when a domain's files are read again although nobody said that they changed, because file events can be lost.
 *
 * Most files have not changed, and a look at their stamps (`host/state-stamp.ts`) is cheaper than reading them. But what was written within one tick of the
 * file system's clock has one stamp, so a reading stands for a stamp only if it began when the stamp had been seen `RESTED_MS` before.
 *
 * I1 Files that differ from what was read last are read at the next look, if their stamps tell.
 * I2 Files are read at one look in `LOOKS_A_READING` at least, whatever their stamps tell: nothing rests on times of files alone.
 */
import type { StateStamp } from '../../host/state-stamp.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainPlace } from '../domain-place.js';
import { phaseOf } from '../phase.js';

/** Longer than a tick of any file system's clock: that of FAT is 2 s. */
const RESTED_MS = 3000;

/** Every 5 minutes, at the default `timing.rescan`. */
export const LOOKS_A_READING = 10;

export class Reread {
  readonly #context: Pick<AgentContext, 'files' | 'clock'>;
  /** Where a domain's count of looks begins: those that began together are not read together. */
  readonly #phase: number;
  #stamp: StateStamp | undefined;
  #stampedMs = 0;
  /** What has this stamp was read when it had rested. */
  #isRead = false;
  /** Since that reading. */
  #looks = 0;

  constructor(context: Pick<AgentContext, 'files' | 'clock'>, uuid: DomainUuid) {
    this.#context = context;
    this.#phase = phaseOf(uuid, LOOKS_A_READING);
  }

  /** One look. @returns whether the files have to be read */
  async isDue(place: DomainPlace): Promise<boolean> {
    const { files, clock } = this.#context;
    const stamp = await files.stamp(place, this.#stamp).catch(() => undefined);
    if (stamp === undefined || stamp !== this.#stamp) {
      this.#stamp = stamp;
      this.#stampedMs = clock.monotonicMs();
      this.#isRead = false;
      this.#looks = this.#phase;
    }
    this.#looks += 1;
    return !this.#isRead || this.#looks >= LOOKS_A_READING;
  }

  /** The files are about to be read. @returns to be called when they were */
  begin(): () => void {
    const stamp = this.#stamp;
    const hasRested = this.#context.clock.monotonicMs() - this.#stampedMs >= RESTED_MS;
    return () => {
      if (stamp === undefined || stamp !== this.#stamp || !hasRested) return;
      this.#isRead = true;
      if (this.#looks >= LOOKS_A_READING) this.#looks = 0;
    };
  }
}
