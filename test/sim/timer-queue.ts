/**
 * timer-queue: pending callbacks in the order of their time; those of one time in the order in which they were added. A binary heap.
 */

export interface Timer {
  readonly atMs: number;
  readonly sequence: number;
  /** Undefined once cancelled: the entry stays in the heap until its time, and is then passed over. */
  callback: (() => void) | undefined;
}

export class TimerQueue {
  readonly #heap: Timer[] = [];
  #sequence = 0;

  add(atMs: number, callback: () => void): Timer {
    const timer: Timer = { atMs, sequence: this.#sequence++, callback };
    this.#heap.push(timer);
    this.#rise(this.#heap.length - 1);
    return timer;
  }

  /** The earliest timer that was not cancelled; it stays in the queue. */
  peek(): Timer | undefined {
    while (this.#heap[0] && !this.#heap[0].callback) this.#removeFirst();
    return this.#heap[0];
  }

  /** Removes what `peek` returned. */
  shift(): void {
    this.#removeFirst();
  }

  #removeFirst(): void {
    const last = this.#heap.pop();
    if (!last || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink(0);
  }

  #rise(start: number): void {
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfEarlier(at, parent)) return;
      at = parent;
    }
  }

  #sink(start: number): void {
    let at = start;
    for (;;) {
      const left = 2 * at + 1;
      const child = isEarlier(this.#heap[left + 1], this.#heap[left]) ? left + 1 : left;
      if (!this.#swapIfEarlier(child, at)) return;
      at = child;
    }
  }

  #swapIfEarlier(lower: number, upper: number): boolean {
    const below = this.#heap[lower];
    const above = this.#heap[upper];
    if (!below || !above || !isEarlier(below, above)) return false;
    this.#heap[upper] = below;
    this.#heap[lower] = above;
    return true;
  }
}

function isEarlier(a: Timer | undefined, b: Timer | undefined): boolean {
  if (!a || !b) return false;
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}
