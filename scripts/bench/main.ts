/**
 * bench: `npm run bench -- [OPTIONS]`
 *
 *   --only NAME        this measurement alone; may be given several times
 *   --lab              also count the requests to a real NFS server, in virtual machines: some minutes more
 *   --quick            a smoke run of seconds: it shows that the benchmark works, and its figures mean nothing
 *   --out DIRECTORY    where results.json, results.md and chart.svg go (default: a new directory under the temporary one)
 *   --on DIRECTORY     a directory on the file system to measure (default: /var/tmp, which is a disk where /tmp may be memory)
 *   --readme           also put the table into RESULTS.md beside this program, between its markers, and the chart
 *
 * Progress goes to standard error, the table to standard output.
 */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { runChecked } from '../../test/fixtures/process.js';
import { chart } from './chart.js';
import { firmware } from './firmware.js';
import { fleetScale } from './fleet-scale.js';
import { hookOverhead } from './hook-overhead.js';
import { idle } from './idle.js';
import { describeMachine } from './machine.js';
import type { Bench, Measurement } from './measurement.js';
import { compileNatives, type Natives } from './natives.js';
import { nfsRequests } from './nfs-requests.js';
import { publishCost } from './publish-cost.js';
import { publishLatency } from './publish-latency.js';
import { markdown, type Measured, type Report } from './report.js';
import { Scope } from './scope.js';
import { storm } from './storm.js';
import { throughput } from './throughput.js';

const MEASUREMENTS: readonly Measurement[] = [
  publishLatency,
  publishCost,
  hookOverhead,
  storm,
  idle,
  throughput,
  fleetScale,
  firmware,
];
const INTERRUPTED = 130;
const ROOT = join(import.meta.dirname, '../..');
const CHART_IN_PROJECT = join(import.meta.dirname, 'chart.svg');
const CHART_TITLE = 'From a change of the TPM to the share, median and quartiles';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    lab: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    out: { type: 'string' },
    on: { type: 'string', default: '/var/tmp' },
    readme: { type: 'boolean', default: false },
  },
});

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function progress(text: string): void {
  console.error(`bench: ${text}`);
}

function chosen(): readonly Measurement[] {
  const { only } = options;
  const lab = options.lab ? [nfsRequests] : [];
  if (!only) return [...MEASUREMENTS, ...lab];
  const known = MEASUREMENTS.map(({ name }) => name);
  const unknown = only.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`expected --only ${known.join(', ')}; found ${unknown}`);
  return [...MEASUREMENTS.filter(({ name }) => only.includes(name)), ...lab];
}

/** Without what only says where the results go. */
function commandText(): string {
  const words = [
    ...(options.only ?? []).map((name) => `--only ${name}`),
    ...(options.lab ? ['--lab'] : []),
    ...(options.quick ? ['--quick'] : []),
  ];
  return ['npm run bench', ...(words.length > 0 ? ['--', ...words] : [])].join(' ');
}

async function measure(measurement: Measurement, natives: Natives): Promise<Measured> {
  const { name, title } = measurement;
  const scope = new Scope();
  const directory = await mkdtemp(join(options.on, 'smb-'));
  scope.teardown(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  const bench: Bench = {
    quick: options.quick,
    directory,
    scope,
    natives,
    progress: (text) => {
      progress(`${name}: ${text}`);
    },
  };
  const began = performance.now();
  progress(`${name}: ${title}`);
  try {
    const outcome = await measurement.run(bench);
    return { name, title, tookS: Math.round((performance.now() - began) / 1000), outcome };
  } finally {
    await scope.end();
  }
}

async function write(report: Report): Promise<void> {
  const out = options.out ?? (await mkdtemp(join(tmpdir(), 'swtpm-mirror-bench-')));
  await mkdir(out, { recursive: true });
  const bars = report.measured.flatMap(({ outcome }) => outcome.bars ?? []);
  await writeFile(join(out, 'results.json'), `${JSON.stringify(report, null, 2)}\n`);
  if (bars.length > 0) await writeFile(join(out, 'chart.svg'), chart(CHART_TITLE, bars));
  const text = markdown(report, bars.length > 0 ? 'chart.svg' : undefined);
  await writeFile(join(out, 'results.md'), text);
  process.stdout.write(text);
  progress(`results are in ${out}`);
  if (options.readme) {
    await writeReadme(report, join(out, 'readme.md'), bars.length > 0 ? join(out, 'chart.svg') : undefined);
  }
}

async function writeReadme(report: Report, path: string, chartPath: string | undefined): Promise<void> {
  if (chartPath !== undefined) await copyFile(chartPath, CHART_IN_PROJECT);
  await writeFile(path, markdown(report, chartPath === undefined ? undefined : basename(CHART_IN_PROJECT)));
  const insert = join(ROOT, 'scripts/lib/insert-transcript.mjs');
  await runChecked(process.execPath, [
    insert,
    '--as-is',
    join(import.meta.dirname, 'RESULTS.md'),
    'bench',
    path,
  ]);
  progress('the table and the chart are in RESULTS.md');
}

async function main(): Promise<void> {
  const measurements = chosen();
  const scope = new Scope();
  const machine = await describeMachine(options.on);
  const programs = await mkdtemp(join(tmpdir(), 'smb-native-'));
  scope.teardown(() => rm(programs, { recursive: true, force: true }));
  try {
    const natives = await compileNatives(programs);
    const measured: Measured[] = [];
    for (const measurement of measurements) {
      try {
        const result = await measure(measurement, natives);
        measured.push(result);
        progress(`${result.name}: ${result.tookS} s`);
      } catch (error) {
        // The others are worth having, but the run has failed.
        progress(`${measurement.name} FAILED: ${messageOf(error)}`);
        process.exitCode = 1;
      }
    }
    await write({ command: commandText(), machine, measured });
  } finally {
    await scope.end();
  }
}

// So that what was started is ended: see `runPeer`.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(INTERRUPTED));

main().catch((error: unknown) => {
  progress(messageOf(error));
  process.exitCode = 1;
});
