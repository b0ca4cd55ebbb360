/**
 * events-api: `GET /v1/events`: a stream of what befalls this host's domains, one JSON object a line, for as long as the caller listens.
 *
 * The first line is `{"kind":"hello"}`: from then on nothing is missed. Who connects reads the state of the domains after it, so that nothing falls
 * between the two. An empty line now and then shows that the stream lives. A listener that does not keep up is cut off: it connects again.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../model/environment.js';
import type { DomainFeed } from '../domain-feed.js';
import type { RequestHandler } from './metrics-api.js';

export const EVENTS_PATH = '/v1/events';
const LISTENERS_MAX = 32;
/** Bytes that may wait for a listener. */
const BACKLOG_BYTES_MAX = 256 * 1024;
const SIGN_OF_LIFE_MS = 15_000;

/** @param otherwise answers every other path */
export function eventsApi(clock: Clock, feed: DomainFeed, otherwise: RequestHandler): RequestHandler {
  return (request, response) => {
    const [path] = (request.url ?? '').split('?');
    if (request.method !== 'GET' || path !== EVENTS_PATH) otherwise(request, response);
    else if (feed.listeners >= LISTENERS_MAX) refuse(response);
    else stream(clock, feed, response);
  };
}

function stream(clock: Clock, feed: DomainFeed, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  const write = (line: string): void => {
    if (response.destroyed) return;
    response.write(line);
    if (response.writableLength > BACKLOG_BYTES_MAX) response.destroy();
  };
  let cancel: () => void;
  const live = (): void => {
    cancel = clock.after(SIGN_OF_LIFE_MS, () => {
      write('\n');
      live();
    });
  };
  write('{"kind":"hello"}\n');
  const end = feed.listen((event) => {
    write(`${JSON.stringify({ ...event, time: new Date(clock.nowMs()).toISOString() })}\n`);
  });
  live();
  response.once('close', () => {
    end();
    cancel();
  });
}

function refuse(response: ServerResponse): void {
  const text = `${LISTENERS_MAX} listeners are connected, the most that are served\n`;
  response.writeHead(503, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
