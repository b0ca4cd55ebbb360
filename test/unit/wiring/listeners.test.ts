import { once } from 'node:events';
import { get, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { boundedServer, listen, listenAt, type ServerLimits } from '../../../src/wiring/listeners.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil as waitFor } from '../../fixtures/wait-until.js';

const LIMITS: ServerLimits = { connectionsMax: 8, headersMs: 500, requestMs: 1_000 };
/** Until it holds. */
async function waitUntil(
  holds: () => boolean | Promise<boolean>,
  timeoutMs: number,
  what: string,
): Promise<void> {
  await waitFor(what, timeoutMs, async () => ((await holds()) ? true : undefined));
}

type Where = { readonly path: string } | { readonly port: number; readonly host: string };

async function served(
  t: TestScope & { teardown(work: () => void): void },
  said: string[] = [],
): Promise<{ server: Server; wheres: Where[] }> {
  const path = join(await temporaryDirectory(t), 'control.sock');
  const servers = [0, 1].map(() =>
    boundedServer(
      LIMITS,
      (request, response) => {
        request.resume().on('end', () => response.end('answered\n'));
        request.on('error', () => undefined);
      },
      (message) => said.push(message),
    ),
  );
  const [unix, tcp] = servers as [Server, Server];
  await listen(unix, path);
  await listenAt(tcp, { host: '127.0.0.1', port: 0 });
  t.teardown(() => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });
  const { port } = tcp.address() as AddressInfo;
  return { server: tcp, wheres: [{ path }, { port, host: '127.0.0.1' }] };
}

function ask(where: Where): Promise<string> {
  return new Promise((resolve) => {
    const options = 'path' in where ? { socketPath: where.path, path: '/' } : { ...where, path: '/' };
    const request = get({ ...options, agent: false }, (response) => {
      response.setEncoding('utf8').on('data', resolve);
    });
    request.on('error', (error) => {
      resolve(error.message);
    });
  });
}

async function opened(where: Where, text: string): Promise<Socket> {
  const socket = connect(where);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

/** What somebody sends who wants to keep a connection and ask for nothing. */
const HALVES = [
  '',
  'G',
  'GET / HTTP/1.1\r\n',
  'GET / HTTP/1.1\r\nHost: localhost\r\n',
  'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nbegun',
  'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n',
];

t.test('connections that ask for nothing are closed in time, and keep nobody out after that', async (t) => {
  for (const half of HALVES) {
    const { wheres } = await served(t);
    for (const where of wheres) {
      const sockets: Socket[] = [];
      for (let at = 0; at < LIMITS.connectionsMax; at++) sockets.push(await opened(where, half));
      for (const socket of sockets) socket.resume();
      await waitUntil(() => sockets.every(({ closed }) => closed), 10_000, `${JSON.stringify(half)} closed`);
      t.equal(await ask(where), 'answered\n', JSON.stringify(half));
    }
  }
});

t.test(
  'past the bound a connection is closed at once, those before it stay, and it is said once',
  async (t) => {
    const said: string[] = [];
    const { wheres } = await served(t, said);
    for (const where of wheres) {
      const sockets: Socket[] = [];
      for (let at = 0; at < 5 * LIMITS.connectionsMax; at++) {
        const socket = connect(where);
        socket.on('error', () => undefined).resume();
        sockets.push(socket);
      }
      await waitUntil(
        () => sockets.filter(({ closed }) => closed).length >= 4 * LIMITS.connectionsMax,
        10_000,
        'those past the bound closed',
      );
      await waitUntil(async () => (await ask(where)) === 'answered\n', 10_000, 'served again');
      for (const socket of sockets) socket.destroy();
    }
    t.equal(said.length, 2, 'once for each server');
    t.match(said[0], /more than 8 connections/);
  },
);

t.test('what cannot be accepted ends nothing', async (t) => {
  const said: string[] = [];
  const { server, wheres } = await served(t, said);
  for (const code of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']) {
    for (let times = 0; times < 3; times++) {
      server.emit('error', Object.assign(new Error(`accept ${code}`), { code }));
    }
    t.equal(await ask(wheres[1]!), 'answered\n', code);
  }
  t.strictSame(said, ['a connection could not be accepted: accept EMFILE']);
});
