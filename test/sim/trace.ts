/**
 * trace: what happened in a schedule, for whoever has to read a failing one. The last events are kept as text; all of them go into a
 * fingerprint, so that two runs of one seed can be compared whole.
 *
 *     1042.317  kvm-a   publish:rename   rename /share/volumes/…/gen/.tmp-1   ENOENT
 */

export interface TraceEvent {
  readonly timeMs: number;
  /** The host that acts, or `server`, or `scenario`. */
  readonly host: string;
  /** Call site, or what kind of event. */
  readonly site: string;
  readonly action: string;
  readonly outcome: string;
}

export class Trace {
  readonly #limit: number;
  #events: TraceEvent[] = [];
  #count = 0;
  #fingerprint = 0x811c9dc5;

  /**
   * @param limit events that are kept at least
   */
  constructor(limit = 2000) {
    this.#limit = limit;
  }

  /** Events recorded, kept or not. */
  get count(): number {
    return this.#count;
  }

  /** A hash over every event since the start; of its action the length, for the text is long and times and outcomes tell it well enough. */
  get fingerprint(): string {
    return (this.#fingerprint >>> 0).toString(16).padStart(8, '0');
  }

  /** The events that are kept, oldest first. */
  get events(): readonly TraceEvent[] {
    return this.#events.slice(-this.#limit);
  }

  record(event: TraceEvent): void {
    this.#count += 1;
    this.#mixNumber(event.timeMs * 1e6);
    this.#mixNumber(event.action.length);
    this.#mix(event.host);
    this.#mix(event.site);
    this.#mix(event.outcome);
    this.#events.push(event);
    // Cut in large pieces: shifting one event at a time would cost the whole length each time.
    if (this.#events.length >= 2 * this.#limit) this.#events = this.#events.slice(-this.#limit);
  }

  /** One line per kept event. */
  toString(): string {
    const left = this.#count - this.events.length;
    const lines = this.events.map(formatEvent);
    if (left > 0) lines.unshift(`(${left} earlier events left out)`);
    return lines.join('\n');
  }

  #mixNumber(value: number): void {
    this.#fingerprint = Math.imul(this.#fingerprint ^ value, 0x01000193);
  }

  #mix(text: string): void {
    let hash = this.#fingerprint;
    for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    this.#fingerprint = Math.imul(hash ^ 0xff, 0x01000193);
  }
}

function formatEvent(event: TraceEvent): string {
  const time = event.timeMs.toFixed(3).padStart(12);
  return `${time}  ${event.host.padEnd(8)} ${event.site.padEnd(24)} ${event.action}  ${event.outcome}`;
}
