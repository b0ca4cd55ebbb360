/**
 * trees-command: `npm run fuzz -- --trees N [--first SEED] [--seed SEED]`.
 */
import { parseArgs } from 'node:util';
import { playTrees } from './planted-trees.js';

const PROGRESS_MS = 10_000;
const { values } = parseArgs({
  options: {
    trees: { type: 'string', default: '1000' },
    first: { type: 'string', default: `${Date.now()}-` },
    seed: { type: 'string' },
  },
});

const wanted = values.seed === undefined ? Number(values.trees) : 1;
const seeds = Array.from({ length: wanted }, (_, at) => values.seed ?? `${values.first}${at}`);
const startedMs = performance.now();
let toldMs = startedMs;
const { failures, trees, outcomes } = await playTrees(seeds, (played) => {
  if (performance.now() - toldMs < PROGRESS_MS) return;
  toldMs = performance.now();
  console.log(`fuzz: ${played} of ${wanted} trees`);
});
for (const { seed, what, story } of failures) {
  console.log(`FAILED --seed ${seed}: ${what}`);
  for (const line of story) console.log(`    ${line}`);
}
const counts = [...outcomes].sort(([, a], [, b]) => b - a).map(([code, count]) => `${code} ${count}`);
console.log(`fuzz: operations ended with ${counts.join(', ')}`);
const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
console.log(`fuzz: ${trees} planted trees, ${failures.length} failed, ${seconds} s`);
process.exit(failures.length > 0 ? 1 : 0);
