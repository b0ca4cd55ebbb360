/**
 * run-program: compile a program of the tests and run it: `node scripts/lib/run-program.mjs test/fault/sweep.ts ARGUMENTS…`
 */
import { spawn } from 'node:child_process';
import { withBundledTests } from './bundle-tests.mjs';

const [file, ...args] = process.argv.slice(2);
process.exitCode = await withBundledTests([[file]], ([{ program }]) => {
  const child = spawn(process.execPath, ['--enable-source-maps', program, ...args], { stdio: 'inherit' });
  return new Promise((resolve) => child.on('close', (status) => resolve(status ?? 1)));
});
