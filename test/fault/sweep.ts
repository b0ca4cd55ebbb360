/**
 * sweep: every system call of the main operations, failed and killed in turn on a real file system, with a real swtpm's state.
 *
 *   scripts/fault/sweep                          every call, killed and failed with EIO; calls that take space with ENOSPC, too
 *   scripts/fault/sweep --operation stop         one operation
 *   scripts/fault/sweep --sample 50 --seed 7     some of them, chosen by the seed
 *   scripts/fault/sweep --json FILE              a report
 *
 * After each fault: nothing that the share had acknowledged is gone, whatever the log names is whole, and what stands in the place of the
 * local state is a whole state or none. Then the next command of a manager completes the work: a real swtpm starts and reads back the
 * newest value.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { OPERATIONS } from './operations.js';
import { sweepOperations, type SweepReport } from './sweep-operations.js';

const { values: options } = parseArgs({
  options: {
    operation: { type: 'string' },
    sample: { type: 'string' },
    seed: { type: 'string', default: Date.now().toString(36) },
    json: { type: 'string' },
  },
});

const chosen = OPERATIONS.filter(({ name }) => options.operation === undefined || name === options.operation);
if (chosen.length === 0) {
  const names = OPERATIONS.map(({ name }) => `'${name}'`).join(', ');
  console.error(`sweep: expected --operation of ${names}, found '${options.operation ?? ''}'`);
  process.exit(2);
}
const sample = options.sample === undefined ? undefined : Number(options.sample);
if (sample !== undefined) console.log(`sweep: ${sample} faults of each operation, seed ${options.seed}`);

const report = await sweepOperations(chosen, { sample, seed: options.seed, say: console.log });
if (options.json !== undefined) await writeFile(options.json, JSON.stringify(report, null, 2));
console.log(summary(report));
process.exitCode = report.failures.length === 0 && report.faults > 0 ? 0 : 1;

function summary({ faults, failures, unnoticed }: SweepReport): string {
  return `${faults} faults, of which ${unnoticed} did not keep the command from its work; ${failures.length} broke something`;
}
