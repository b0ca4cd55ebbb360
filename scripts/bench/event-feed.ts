/**
 * event-feed: an agent's acknowledgements, as they come (`GET /v1/events`).
 */
import { get } from 'node:http';
import { createInterface } from 'node:readline';
import type { TestScope } from '../../test/fixtures/temporary-directory.js';

interface FeedEvent {
  readonly kind: string;
  readonly uuid?: string;
}

interface Waiting {
  readonly resolve: (atMs: number) => void;
  readonly reject: (error: Error) => void;
}

export class EventFeed {
  readonly #waiting = new Map<string, Waiting>();
  /** Publishes of all domains so far. */
  published = 0;

  /** Resolves when nothing that happens from now on is missed. */
  static open(scope: TestScope, socketPath: string): Promise<EventFeed> {
    const feed = new EventFeed();
    return new Promise((resolve, reject) => {
      const sent = get({ socketPath, path: '/v1/events' }, (response) => {
        const lines = createInterface(response);
        lines.once('line', () => {
          resolve(feed);
        });
        lines.on('line', (line) => {
          if (line !== '') feed.#take(JSON.parse(line) as FeedEvent);
        });
        // The stream's own error comes to the lines as well; that it has ended is what counts.
        lines.on('error', () => undefined);
        lines.on('close', () => {
          feed.#end();
        });
      });
      sent.on('error', reject);
      scope.teardown(() => sent.destroy());
    });
  }

  /** When the domain's next publish is acknowledged, ms of `performance.now`. @throws Error when the agent ends before */
  nextPublish(uuid: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(uuid, { resolve, reject });
    });
  }

  #take({ kind, uuid = '' }: FeedEvent): void {
    if (kind !== 'published') return;
    this.published += 1;
    const waiting = this.#waiting.get(uuid);
    this.#waiting.delete(uuid);
    waiting?.resolve(performance.now());
  }

  #end(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error('the agent ended'));
    this.#waiting.clear();
  }
}
