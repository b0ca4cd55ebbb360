/**
 * run-test-files: run test files, several at a time, each as a process of its own.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { withBundledTests } from './bundle-tests.mjs';
import { readTap } from './tap-results.mjs';

/** What a test file gets beyond its time limit to tell what it was doing. */
const REPORT_MS = 15_000;

/**
 * @param files paths relative to the project, which is the working directory
 * @param timeoutSeconds limit for one file
 * @param jobsPerCore how many files run at a time for each core; one more does
 * @param onFile called as each file ends, with `{ name, passed, failed, skipped, timeMs, failures: [{ name, details }] }`
 * @returns `{ passed, failed, skipped }` of all of them
 */
export function runTestFiles(files, { timeoutSeconds, jobsPerCore = 1 }, onFile) {
  const jobs = jobsPerCore * availableParallelism() + 1;
  return withBundledTests(files, (programs) => runPrograms([...programs], { timeoutSeconds, jobs }, onFile));
}

async function runPrograms(programs, { timeoutSeconds, jobs }, onFile) {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const work = async () => {
    for (let next = programs.shift(); next; next = programs.shift()) {
      const [name, program] = next;
      const result = await runTestFile(program, timeoutSeconds);
      for (const key of Object.keys(totals)) totals[key] += result[key];
      onFile({ name, ...result });
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return totals;
}

/** A file that fails without a failed test of its own (it crashed, or ran no test) counts as one failed test. */
async function runTestFile(program, timeoutSeconds) {
  const started = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TAP_TIMEOUT: String(timeoutSeconds) },
    timeout: timeoutSeconds * 1000 + REPORT_MS,
    killSignal: 'SIGKILL',
  });
  const [{ ok, ...result }, end] = await Promise.all([readTap(child.stdout), endOf(child)]);
  const isGood = ok && end.status === 0 && result.passed + result.skipped > 0;
  if (!isGood && result.failed === 0) {
    result.failed = 1;
    result.failures.push({ name: 'the file itself', details: { ...end, tests: result.passed } });
  }
  return { ...result, timeMs: performance.now() - started };
}

function endOf(child) {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ error: error.message }));
    child.on('close', (status, signal) => resolve({ status, signal }));
  });
}
