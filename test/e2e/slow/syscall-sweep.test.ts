/**
 * A part of the sweep of `scripts/fault/sweep`: other system calls at every run, by a seed that it tells.
 */
import t from 'tap';
import { OPERATIONS } from '../../fault/operations.js';
import { sweepOperations } from '../../fault/sweep-operations.js';

const FAULTS_EACH = 6;

for (const operation of OPERATIONS) {
  const seed = Date.now().toString(36);
  t.test(`G1 G2 G4 G8: ${operation.name}, broken at system calls of seed ${seed}`, async (t) => {
    const options = { sample: FAULTS_EACH, seed, say: (line: string) => t.comment(line) };
    const { faults, failures } = await sweepOperations([operation], options);
    t.equal(faults, FAULTS_EACH);
    t.strictSame(failures, []);
  });
}
