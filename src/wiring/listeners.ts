/**
 * listeners: where the agent is asked: its control socket, and the address of its metrics.
 *
 * I1 Nobody who merely connects can take the agent's descriptors: connections are bounded, and one
 *    on which no request arrives in time is closed.
 * I2 A connection that cannot be accepted (no descriptors left) is told in the log and ends nothing.
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { ListenAddress } from '../model/config-schema.js';
import { MirrorError } from '../model/errors.js';

const SOCKET_MODE = 0o600;

export interface ServerLimits {
  /** Past these, a new connection is closed at once. */
  readonly connectionsMax: number;
  /** For the header of a request, from the connection or from the request before. */
  readonly headersMs: number;
  /** For a whole request, its body included; how long its answer takes is not bounded. */
  readonly requestMs: number;
}

/** Root's own programs, of which each VM that starts is one, and some listen for events. */
export const CONTROL_LIMITS: ServerLimits = { connectionsMax: 512, headersMs: 10_000, requestMs: 30_000 };
/** Whoever reaches the address; a scraper needs one. */
export const METRICS_LIMITS: ServerLimits = { connectionsMax: 32, headersMs: 5_000, requestMs: 5_000 };

const KEEP_ALIVE_MS = 5_000;
/** Between two looks for connections that are late. */
const CHECK_MS = 1_000;
/** Of a request without a body worth the name. */
const HEADER_BYTES_MAX = 16 * 1024;
/** Between two lines in the log on the same trouble. */
const SAID_MS = 60_000;

/** @param said what cannot be accepted, once a minute at most */
export function boundedServer(
  { connectionsMax, headersMs, requestMs }: ServerLimits,
  handler: RequestListener,
  said: (message: string) => void,
): Server {
  const server = createServer(
    {
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
    },
    handler,
  );
  server.maxConnections = connectionsMax;
  let saidAtMs = -Infinity;
  const sayOnce = (message: string): void => {
    const nowMs = performance.now();
    if (nowMs - saidAtMs < SAID_MS) return;
    saidAtMs = nowMs;
    said(message);
  };
  server.on('drop', () => {
    sayOnce(`more than ${String(connectionsMax)} connections at a time: a new one was closed`);
  });
  // The first is of `listen`, which tells it itself.
  server.on('listening', () => {
    server.on('error', ({ message }) => {
      sayOnce(`a connection could not be accepted: ${message}`);
    });
  });
  return server;
}

export async function listenAt(server: Server, { host, port }: ListenAddress): Promise<void> {
  await listening(server, (done) => server.listen(port, host, done)).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    throw new MirrorError('HOST_IO', `cannot serve metrics at ${host} port ${port}: ${why}`, {
      next: 'set metrics.listen to a free address of this host, or to "" for none',
      cause: error,
    });
  });
}

export async function listen(server: Server, path: string): Promise<void> {
  // Whoever made it is gone: the caller holds the lock of this host's one agent.
  await rm(path, { force: true });
  await listening(server, (done) => server.listen(path, done));
  await chmod(path, SOCKET_MODE);
}

function listening(server: Server, begin: (done: () => void) => void): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    begin(() => {
      server.off('error', reject);
      resolve();
    });
  });
}
