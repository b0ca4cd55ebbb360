/**
 * coverage: how often schedules met what they are there for. A fault that never happens proves nothing.
 */

export type Counts = Readonly<Record<string, number>>;

export class Coverage {
  readonly #counts = new Map<string, number>();

  count(topic: string, times = 1): void {
    this.#counts.set(topic, (this.#counts.get(topic) ?? 0) + times);
  }

  add(counts: Counts): void {
    for (const [topic, times] of Object.entries(counts)) this.count(topic, times);
  }

  /** By topic, in alphabetical order. */
  get counts(): Counts {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
