/**
 * metrics-guard: who is answered at the metrics' own address, which others than root can reach.
 *
 * I1 A web page that somebody visits on this host, or beside it, gets nothing: its own name stands in
 *    `Host`, and only this host's names and addresses are answered.
 * I2 Whoever asks again and again costs a bounded part of the agent: past a rate, the answer is 429.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../model/environment.js';
import type { RequestHandler } from './metrics-api.js';

/** Answers in a row, and how many a second in the long run. */
const BURST = 20;
const PER_SECOND = 10;
const MS_PER_ANSWER = 1000 / PER_SECOND;

export interface MetricsGuardOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Names of this host. A name whose first part is one of them is one, too. */
  readonly names: readonly string[];
}

export function guardedMetrics(
  handler: RequestHandler,
  { clock, names }: MetricsGuardOptions,
): RequestHandler {
  let fullAtMs = -Infinity;
  const takesOne = (): boolean => {
    const nowMs = clock.monotonicMs();
    const next = Math.max(fullAtMs, nowMs) + MS_PER_ANSWER;
    if (next - nowMs > BURST * MS_PER_ANSWER) return false;
    fullAtMs = next;
    return true;
  };
  return (request, response) => {
    if (!isOwnName(request.headers.host, names)) refuse(request, response, 421, WRONG_HOST);
    else if (!takesOne()) refuse(request, response, 429, TOO_MANY);
    else handler(request, response);
  };
}

const WRONG_HOST = 'this host is not asked under that name; names it has beside its own are `metrics.names`';
const TOO_MANY = `more than ${String(PER_SECOND)} requests a second`;

/** An address, `localhost`, or one of the names; HTTP/1.0 names none. */
export function isOwnName(host: string | undefined, names: readonly string[]): boolean {
  if (host === undefined) return true;
  const [, address, name] =
    /^(?:(\[[0-9A-Fa-f:.]+\]|\d{1,3}(?:\.\d{1,3}){3})|([^:]+))(?::\d{1,5})?$/.exec(host) ?? [];
  if (address !== undefined) return true;
  if (name === undefined) return false;
  const asked = name.toLowerCase().replace(/\.$/, '');
  const own = ['localhost', ...names.map((each) => each.toLowerCase())];
  return own.some((each) => asked === each || firstLabel(asked) === each);
}

function firstLabel(name: string): string {
  return name.split('.')[0] ?? '';
}

function refuse(request: IncomingMessage, response: ServerResponse, status: number, why: string): void {
  const text = `${why}\n`;
  response.writeHead(status, {
    'content-type': 'text/plain',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
    ...(status === 429 && { 'retry-after': '1' }),
  });
  response.end(text);
  request.resume();
}
