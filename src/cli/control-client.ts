/**
 * control-client: asks this host's agent over its control socket.
 */
import { request as httpRequest } from 'node:http';
import { z } from 'zod';
import { MirrorError, type ErrorCode } from '../model/errors.js';
import type { Config } from '../model/config.js';

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const ERROR_BODY = z.object({
  error: z.object({ code: z.string(), message: z.string(), next: z.string(), retriable: z.boolean() }),
});
/** How a socket says that nobody listens, or not any more: an agent that was killed in the middle of its answer is no agent. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

export interface ControlCall {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
}

/**
 * @returns the answer's JSON, or `undefined` when no agent runs on this host
 * @throws MirrorError what the agent answered, or `AGENT_UNREACHABLE`
 */
export async function askAgent(config: Config, call: ControlCall): Promise<unknown> {
  const { startDeadlineMs, stopDeadlineMs, shareDeadlineMs } = config.timing;
  const patienceMs = Math.max(startDeadlineMs, stopDeadlineMs) + 3 * shareDeadlineMs;
  const answer = await exchange(`${config.runDir}/control.sock`, call, patienceMs);
  if (!answer) return undefined;
  const body = parseJson(answer.text);
  if (answer.status < 400) return body;
  const failure = ERROR_BODY.safeParse(body);
  if (!failure.success) throw unreachable(`it answered HTTP ${String(answer.status)}`);
  const { error } = failure.data;
  throw MirrorError.fromRecord({ ...error, code: error.code as ErrorCode });
}

function exchange(
  socketPath: string,
  { method, path, body }: ControlCall,
  patienceMs: number,
): Promise<{ status: number; text: string } | undefined> {
  const text = body === undefined ? '' : JSON.stringify(body);
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, headers, timeout: patienceMs }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > ANSWER_BYTES_MAX) request.destroy(new Error('its answer is too long'));
        chunks.push(chunk);
      });
      response.on('error', (error) => {
        reject(unreachable(error.message));
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 500, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${String(patienceMs)} ms`)));
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (NOBODY.has(error.code ?? '')) resolve(undefined);
      else reject(unreachable(error.message));
    });
    request.end(text);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw unreachable('its answer is not JSON');
  }
}

function unreachable(why: string): MirrorError {
  return new MirrorError('AGENT_UNREACHABLE', `the agent of this host cannot be asked: ${why}`, {
    next: 'see `systemctl status swtpm-mirror` and its log',
    retriable: true,
  });
}
