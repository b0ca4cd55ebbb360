/**
 * request-queue: who is served next. Pure.
 *
 * I1 Items of one lane leave in the order of their arrival, and one only when the one before it was finished (`finish`).
 * I2 Lanes take turns: a lane with a long queue delays another by one item.
 * I3 No lane holds more than `perLaneMax` waiting items, and all lanes but the reserved ones no more than `totalMax` together, so
 *    that a flood of work for volumes never turns a heartbeat away.
 */
import type { Lane } from './operations.js';

export interface QueueLimits {
  readonly perLaneMax: number;
  readonly totalMax: number;
}

export type Offer = 'accepted' | 'lane-full' | 'queue-full';

export class RequestQueue<Item extends { readonly lane: Lane }> {
  readonly #limits: QueueLimits;
  readonly #reserved: ReadonlySet<Lane>;
  /** Lanes with waiting items; the order of the keys is the order of their turns. */
  readonly #waiting = new Map<Lane, Item[]>();
  readonly #busy = new Set<Lane>();
  #unreserved = 0;

  constructor(limits: QueueLimits, reserved: readonly Lane[]) {
    this.#limits = limits;
    this.#reserved = new Set(reserved);
  }

  /** Waiting items, those in work not counted. */
  get size(): number {
    let size = 0;
    for (const items of this.#waiting.values()) size += items.length;
    return size;
  }

  offer(item: Item): Offer {
    const items = this.#waiting.get(item.lane) ?? [];
    if (items.length >= this.#limits.perLaneMax) return 'lane-full';
    const reserved = this.#reserved.has(item.lane);
    if (!reserved && this.#unreserved >= this.#limits.totalMax) return 'queue-full';
    if (!reserved) this.#unreserved++;
    items.push(item);
    this.#waiting.set(item.lane, items);
    return 'accepted';
  }

  /**
   * Takes the next item whose lane is not in work, and puts its lane in work.
   *
   * @param which whether the item is to come from a reserved lane or from another
   */
  take(which: 'reserved' | 'unreserved'): Item | undefined {
    for (const [lane, items] of this.#waiting) {
      if (this.#busy.has(lane) || this.#reserved.has(lane) !== (which === 'reserved')) continue;
      const [item] = items;
      if (item === undefined) continue;
      this.remove(item);
      this.#busy.add(lane);
      const left = this.#waiting.get(lane);
      if (left) {
        this.#waiting.delete(lane);
        this.#waiting.set(lane, left);
      }
      return item;
    }
    return undefined;
  }

  /** The lane's item in work has ended: its next may go. */
  finish(lane: Lane): void {
    this.#busy.delete(lane);
  }

  /** Takes a waiting item out of its turn; nothing to do when it is not waiting. */
  remove(item: Item): void {
    const items = this.#waiting.get(item.lane);
    const at = items?.indexOf(item) ?? -1;
    if (!items || at < 0) return;
    items.splice(at, 1);
    if (items.length === 0) this.#waiting.delete(item.lane);
    if (!this.#reserved.has(item.lane)) this.#unreserved--;
  }

  /** Every waiting item, lane by lane. */
  waiting(): Item[] {
    return [...this.#waiting.values()].flat();
  }
}
