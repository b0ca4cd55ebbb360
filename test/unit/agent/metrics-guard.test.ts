import { once } from 'node:events';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { guardedMetrics, isOwnName } from '../../../src/agent/api/metrics-guard.js';

const NAMES = ['kvm-a', '10.0.0.7', 'metrics.example.org'];

t.test('a host is asked by its names and addresses, and by nobody else', (t) => {
  for (const host of [
    undefined,
    '127.0.0.1:9753',
    '10.1.2.3',
    '[::1]:9753',
    '[fe80::1]',
    'localhost',
    'localhost:9753',
    'LOCALHOST',
    'kvm-a',
    'KVM-A:9753',
    'kvm-a.example.org:9753',
    'kvm-a.example.org.',
    'metrics.example.org:9753',
  ]) {
    t.equal(isOwnName(host, NAMES), true, host ?? 'none');
  }
  for (const host of [
    '',
    ':9753',
    'evil.example',
    'evil.example:9753',
    'kvm-ab',
    'example.org',
    'metrics.example.org.evil.example',
    '127.0.0.1.evil.example',
    'localhost@evil.example',
    'kvm-a:9753:80',
    '[::1',
    'kvm-a:port',
    'a'.repeat(10_000),
  ]) {
    t.equal(isOwnName(host, NAMES), false, host.slice(0, 40));
  }
  t.end();
});

t.test('answers are given at a bounded rate, and again when it is over', async (t) => {
  let nowMs = 0;
  const guarded = guardedMetrics((_request, response) => response.end('metrics\n'), {
    clock: { monotonicMs: () => nowMs },
    names: NAMES,
  });
  const server = createServer(guarded).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const statusOf = async (host = 'kvm-a'): Promise<number | undefined> => {
    const sent = request({ port, host: '127.0.0.1', headers: { host }, agent: false });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  t.equal(await statusOf('evil.example'), 421);
  const first = [];
  for (let times = 0; times < 30; times++) first.push(await statusOf());
  t.strictSame(first, [...Array<number>(20).fill(200), ...Array<number>(10).fill(429)]);
  nowMs += 1_000;
  const second = [];
  for (let times = 0; times < 12; times++) second.push(await statusOf());
  t.strictSame(second, [...Array<number>(10).fill(200), 429, 429]);
});
