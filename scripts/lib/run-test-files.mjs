/**
 * run-test-files: run test files, several at a time, each as a process of its own or in one with others.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { withBundledTests } from './bundle-tests.mjs';
import { readTap, readTapOfGroup } from './tap-results.mjs';

/** What a program gets beyond its time limit to tell what it was doing. */
const REPORT_MS = 15_000;
/** Files that share a process run one after the other: few enough that no process is the last for long. */
const GROUP_SIZE = 6;

/**
 * @param files paths relative to the project, which is the working directory
 * @param timeoutSeconds limit for one program
 * @param jobsPerCore how many programs run at a time for each core; one more does
 * @param sharesProcess tells of a file whether it can share a process with its neighbours
 * @param onFile called as each file ends, with `{ name, passed, failed, skipped, timeMs, failures: [{ name, details }] }`
 * @returns `{ passed, failed, skipped }` of all of them
 */
export function runTestFiles(files, options, onFile) {
  const { timeoutSeconds, jobsPerCore = 1, sharesProcess = () => false } = options;
  const jobs = jobsPerCore * availableParallelism() + 1;
  return withBundledTests(groupsOf(files, sharesProcess), (programs) =>
    runPrograms(programs, { timeoutSeconds, jobs }, onFile),
  );
}

function groupsOf(files, sharesProcess) {
  const shared = files.filter(sharesProcess);
  const alone = files.filter((file) => !sharesProcess(file));
  const groups = [];
  for (let at = 0; at < shared.length; at += GROUP_SIZE) groups.push(shared.slice(at, at + GROUP_SIZE));
  return [...alone.map((file) => [file]), ...groups];
}

async function runPrograms(programs, { timeoutSeconds, jobs }, onFile) {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const left = [...programs];
  const work = async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      for (const result of await runProgram(next, timeoutSeconds)) {
        for (const key of Object.keys(totals)) totals[key] += result[key];
        onFile(result);
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return totals;
}

/** @returns one result for each of the program's files */
async function runProgram({ files, program }, timeoutSeconds) {
  const started = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TAP_TIMEOUT: String(timeoutSeconds) },
    timeout: timeoutSeconds * 1000 + REPORT_MS,
    killSignal: 'SIGKILL',
  });
  if (files.length > 1) {
    const [results, end] = await Promise.all([readTapOfGroup(child.stdout), endOf(child)]);
    return files.map((name) => judged({ name, ...(results.get(name) ?? noTests()) }, end));
  }
  const [result, end] = await Promise.all([readTap(child.stdout), endOf(child)]);
  const timeMs = performance.now() - started;
  const isOver = result.ok && end.status === 0;
  return [judged({ ...result, ok: isOver, name: files[0], timeMs }, end)];
}

function noTests() {
  return { ok: false, passed: 0, failed: 0, skipped: 0, failures: [], timeMs: 0 };
}

/** A file that fails without a failed test of its own (it crashed, or ran no test) counts as one failed test. */
function judged({ ok, ...result }, end) {
  const isGood = ok && result.passed + result.skipped > 0;
  if (isGood || result.failed > 0) return result;
  const details = { ...end, tests: result.passed };
  return { ...result, failed: 1, failures: [...result.failures, { name: 'the file itself', details }] };
}

function endOf(child) {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ error: error.message }));
    child.on('close', (status, signal) => resolve({ status, signal }));
  });
}
