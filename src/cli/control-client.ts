/**
 * control-client: asks this host's agent over its control socket.
 */
import { request as httpRequest } from 'node:http';
import type { AgentPlace } from '../model/agent-place.js';
import { MirrorError, type ErrorCode, type ErrorRecord } from '../model/errors.js';

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const SEE_LOG = 'see `systemctl status swtpm-mirror` and its log';
/** How a socket says that nobody listens, or not any more: an agent that was killed in the middle of its answer is no agent. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

export interface ControlCall {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** An object is sent as JSON, a text as it is. */
  readonly body?: object | string;
}

/**
 * @param patienceMs how long it may be silent
 * @default as long as its own work may take
 * @returns the answer's JSON, or `undefined` when no agent runs on this host
 * @throws MirrorError what the agent answered, or `AGENT_UNREACHABLE`
 */
export async function askAgent(
  { runDir, timing }: AgentPlace,
  call: ControlCall,
  patienceMs = ownWorkMs(timing),
): Promise<unknown> {
  const answer = await exchange(`${runDir}/control.sock`, call, patienceMs);
  if (!answer) return undefined;
  const body = parseJson(answer.text);
  if (answer.status < 400) return body;
  const record = errorIn(body);
  throw record ? MirrorError.fromRecord(record) : unreachable(`it answered HTTP ${String(answer.status)}`);
}

/** As long as the agent's own deadlines let a call take. */
export function ownWorkMs({
  startDeadlineMs,
  stopDeadlineMs,
  shareDeadlineMs,
}: AgentPlace['timing']): number {
  return Math.max(startDeadlineMs, stopDeadlineMs) + 3 * shareDeadlineMs;
}

/** Checked by hand: the hook wants this module light. */
function errorIn(body: unknown): ErrorRecord | undefined {
  const { error } = asTable(body);
  const { code, message, next, retriable } = asTable(error);
  if (typeof code !== 'string' || typeof message !== 'string' || typeof next !== 'string') return undefined;
  return { code: code as ErrorCode, message, next, retriable: retriable === true };
}

function asTable(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function exchange(
  socketPath: string,
  { method, path, body }: ControlCall,
  patienceMs: number,
): Promise<{ status: number; text: string } | undefined> {
  const text = typeof body === 'string' ? body : JSON.stringify(body ?? {});
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  const headers = { 'content-type': type, 'content-length': Buffer.byteLength(text) };
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
      else reject(unreachable(error.message, error.code === 'EACCES' ? 'run it as root' : SEE_LOG));
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

function unreachable(why: string, next = SEE_LOG): MirrorError {
  return new MirrorError('AGENT_UNREACHABLE', `the agent of this host cannot be asked: ${why}`, {
    next,
    retriable: true,
  });
}
