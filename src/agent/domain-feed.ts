/**
 * domain-feed: tells those who listen what befalls the domains of this host. Nothing depends on anybody listening, and nobody is waited for.
 */
import type { DomainUuid } from '../model/identifiers.js';

export interface DomainEvent {
  readonly kind: 'prepared' | 'acquired' | 'published' | 'diverged' | 'fenced' | 'released';
  readonly uuid: DomainUuid;
  /** Of a publish: the new head. */
  readonly generation?: number;
  readonly digest?: string;
  /** Who fenced it. */
  readonly by?: string;
  /** Of a start: the decision on its state. */
  readonly decision?: string;
}

export type FeedListener = (event: DomainEvent) => void;

export class DomainFeed {
  readonly #listeners = new Set<FeedListener>();

  get listeners(): number {
    return this.#listeners.size;
  }

  /** @returns what ends it */
  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  tell(event: DomainEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
