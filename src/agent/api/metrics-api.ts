/**
 * metrics-api: `GET /metrics`, on the control socket and, where one is configured, on an address of its own, which serves nothing else.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asMirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';
import { METRICS_CONTENT_TYPE, type Metrics } from './metrics.js';
import { hostStatus } from './status.js';
import type { Supervisor } from '../watch/supervisor.js';

export const METRICS_PATH = '/metrics';

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** @param otherwise answers every other path */
export function metricsApi(
  context: AgentContext,
  supervisor: Supervisor,
  metrics: Metrics,
  otherwise: RequestHandler = notFound,
): RequestHandler {
  return (request, response) => {
    const [path] = (request.url ?? '').split('?');
    if (request.method !== 'GET' || path !== METRICS_PATH) {
      otherwise(request, response);
      return;
    }
    read(context, supervisor, metrics)
      .then((text) => {
        send(response, 200, METRICS_CONTENT_TYPE, text);
      })
      .catch((error: unknown) => {
        send(response, 500, 'text/plain', `${asMirrorError(error).message}\n`);
      });
  };
}

async function read(context: AgentContext, supervisor: Supervisor, metrics: Metrics): Promise<string> {
  const entries = await context.spool.list();
  return await metrics.render({
    status: hostStatus(context, supervisor.health(), supervisor.replicators(), supervisor.attention()),
    spool: { entries: entries.length, bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0) },
    nowMs: context.clock.nowMs(),
  });
}

function notFound(_request: IncomingMessage, response: ServerResponse): void {
  send(response, 404, 'text/plain', `only ${METRICS_PATH} is served here\n`);
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
