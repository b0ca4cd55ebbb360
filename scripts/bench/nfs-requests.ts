/**
 * nfs-requests: what each operation costs in requests to a real NFS server, counted by the client's kernel in the lab's virtual machines
 * (`scripts/lab run rpc`).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../test/fixtures/process.js';
import type { Outcome as Played } from '../../test/lab/report.js';
import type { Bench, Measurement, Outcome } from './measurement.js';

const LAB = join(import.meta.dirname, '../lab');
const SCENARIO = 'rpc';
const TIMEOUT_MS = 600_000;

async function run(bench: Bench): Promise<Outcome> {
  bench.progress('three virtual machines');
  const words = ['run', SCENARIO, '--report', bench.directory];
  const { status, stderr } = await runCommand(LAB, words, { timeoutMs: TIMEOUT_MS });
  const report = await readFile(join(bench.directory, 'lab.json'), 'utf8').catch(() => undefined);
  if (report === undefined) {
    throw new Error(`scripts/lab ended with status ${status ?? 'none'} and no report: ${stderr.trim()}`);
  }
  const played = JSON.parse(report) as readonly Played[];
  const product = played.find(({ subject }) => subject === 'product');
  if (!product || product.broken !== undefined) {
    throw new Error(`scripts/lab could not count: ${product?.broken ?? 'it played nothing'}`);
  }
  return {
    table: {
      head: ['operation', 'requests'],
      rows: Object.entries(product.facts).map(([name, fact]) => [name, String(fact)]),
    },
    goals: product.checks
      .filter(({ name }) => name.includes('floor'))
      .map(({ name, held, seen }) => ({ text: `on NFSv4, ${name}`, met: held, found: seen })),
    notes: [],
    samples: {},
  };
}

export const nfsRequests: Measurement = {
  name: 'nfs-requests',
  title: 'Requests to a real NFS server',
  run,
};
