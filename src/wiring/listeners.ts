/**
 * listeners: where the agent is asked: its control socket, and the address of its metrics.
 */
import { chmod, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { ListenAddress } from '../model/config-schema.js';
import { MirrorError } from '../model/errors.js';

const SOCKET_MODE = 0o600;

export async function listenAt(server: Server, { host, port }: ListenAddress): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new MirrorError('HOST_IO', `cannot serve metrics at ${host} port ${port}: ${error.message}`, {
          next: 'set metrics.listen to a free address of this host, or to "" for none',
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
}

export async function listen(server: Server, path: string): Promise<void> {
  // Whoever made it is gone: the caller holds the lock of this host's one agent.
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  await chmod(path, SOCKET_MODE);
}
