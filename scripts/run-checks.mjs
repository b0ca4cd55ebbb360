/**
 * run-checks: every check of the project, one after the other, with progress; the last line is `N passed, N failed`.
 *
 *   node scripts/run-checks.mjs fast   build, types, and each test file that is not in a directory named `slow`
 *   node scripts/run-checks.mjs all    the same and lint, then the slow tests and the longer programs
 *
 * A check that is a command counts as one; a test file counts each of its tests. Every check runs, whatever failed before it.
 */
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTestFiles } from './lib/run-test-files.mjs';

/** On a machine that is slow at page faults the lab takes six times as long. */
const COMMAND_TIMEOUT_MS = 45 * 60_000;
/** What tap tells about a failure that the report says already. */
const REPEATED_DETAILS = ['source', 'command', 'args', 'stdio', 'cwd', 'externalID', 'jobId', 'isToplevel'];

/**
 * Many tests wait for most of their time, for a host to count as dead, for libvirt, or for a share that hangs: two of them run on each core.
 *
 * Each check has a name and either a command or a choice of test files. Those of one stage run side by side. Add new ones here.
 */
const FAST_STAGES = [
  [{ name: 'build', command: ['npm', 'run', '--silent', 'build'] }],
  [
    { name: 'manual', command: ['scripts/docs', '--check'] },
    { name: 'types', command: ['npm', 'run', '--silent', 'types'] },
    { name: 'tests', files: (file) => !isSlow(file), timeoutSeconds: 300, sharesProcess, jobsPerCore: 2 },
  ],
];
const SLOW_STAGES = [
  [
    { name: 'lint', command: ['npm', 'run', '--silent', 'lint'] },
    { name: 'slow tests', files: isSlow, timeoutSeconds: 900, jobsPerCore: 2 },
  ],
  [{ name: 'scripts/try', command: ['scripts/try'] }],
  [{ name: 'NFS lab', command: ['scripts/lab', 'run', 'short'] }],
];
const SUITES = { fast: FAST_STAGES, all: [...FAST_STAGES, ...SLOW_STAGES] };

function isSlow(file) {
  return file.split(sep).includes('slow');
}

/** Unit tests, but those of what a process is as a whole. */
function sharesProcess(file) {
  const [, kind, room] = file.split('/');
  return kind === 'unit' && room !== 'wiring' && room !== 'storage';
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

function report(ok, name, details) {
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}  (${details})`);
}

/** What has failed, a line each: told once more at the end, where the output of one failure does not bury another. */
const summary = [];

/** Resolves to whether the process ended with status 0. */
function hasSucceeded(child) {
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('close', (status) => resolve(status === 0));
  });
}

async function runCommand({ name, command: [program, ...args] }) {
  const started = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: COMMAND_TIMEOUT_MS });
  const output = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  const ok = await hasSucceeded(child);
  report(ok, name, seconds(performance.now() - started));
  if (!ok) {
    summary.push(name);
    process.stdout.write(Buffer.concat(output));
  }
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
}

async function runTests({ name, files: isChosen, ...limits }) {
  const found = await readdir('test', { recursive: true });
  const files = found.filter((file) => file.endsWith('.test.ts') && isChosen(file)).sort();
  console.log(`running ${name}: ${files.length} files`);
  if (files.length === 0) return { passed: 0, failed: 0, skipped: 0 };
  const paths = files.map((file) => `test/${file}`);
  return await runTestFiles(paths, limits, reportFile);
}

function reportFile({ name, passed, failed, skipped, timeMs, failures }) {
  const counts = [`${passed} passed`];
  if (failed > 0) counts.push(`${failed} failed`);
  if (skipped > 0) counts.push(`${skipped} skipped`);
  report(failed === 0, name, `${counts.join(', ')}, ${seconds(timeMs)}`);
  for (const failure of failures) {
    summary.push(`${name}: ${failure.name}`);
    console.log(`       not ok: ${failure.name}`);
    console.log(detailsText(failure.details).replaceAll(/^/gm, '         '));
  }
}

function detailsText(details) {
  return Object.entries(details ?? {})
    .filter(([key]) => !REPEATED_DETAILS.includes(key))
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? value.trimEnd() : JSON.stringify(value)}`)
    .join('\n');
}

const suite = SUITES[process.argv[2] ?? 'fast'];
if (!suite) {
  console.error(`run-checks: expected one of ${Object.keys(SUITES).join(', ')}, found ${process.argv[2]}`);
  process.exit(2);
}
process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const totals = { passed: 0, failed: 0, skipped: 0 };
for (const stage of suite) {
  const results = await Promise.all(
    stage.map((check) => (check.command ? runCommand(check) : runTests(check))),
  );
  for (const result of results) for (const key of Object.keys(totals)) totals[key] += result[key];
}
for (const what of summary) console.log(`FAILED ${what}`);
if (totals.skipped > 0) console.log(`${totals.skipped} skipped`);
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed === 0 ? 0 : 1;
