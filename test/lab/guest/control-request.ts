/**
 * control-request: one HTTP request on a unix socket, for as long as the other end takes.
 */
import { request } from 'node:http';
import type { DriverCall, HttpAnswer } from './driver-protocol.js';

export function sendRequest(call: Extract<DriverCall, { kind: 'request' }>): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request({
      socketPath: call.socket,
      method: call.method,
      path: call.path,
      // A connection that is kept for the next request may be closed by the other end in that very moment.
      agent: false,
      headers: call.body === undefined ? {} : { 'content-type': 'application/json' },
    });
    sent.on('error', reject);
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      });
    });
    sent.end(call.body === undefined ? undefined : JSON.stringify(call.body));
  });
}
