/**
 * sim: plays schedules of the simulator, made from seeds, against the real sources; shrinks and shows what fails.
 *
 *   npm run sim -- --seeds 10000                     fresh seeds, from the time
 *   npm run sim -- --seeds 1000 --first fixed-       seeds fixed-0 to fixed-999
 *   npm run sim -- --seed fixed-17                   one schedule, again
 *   npm run sim -- --regressions                     those that failed once (test/sim/regressions.json)
 *   npm run sim -- --vary --seeds 10000              variations of those; with --seed, one of them again
 *
 *   --profile calm|rough|hostile   only with that network
 *   --failures N                   go on until N have failed (default 3)
 *   --no-shrink                    show failing schedules as they are
 *   --trace N                      the last N lines of what happened (default 60)
 *   --json                         one document on stdout: failures with their schedules, coverage, speed
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundleSimulator } from './lib/bundle-simulator.mjs';
import { playAll } from './lib/simulator-workers.mjs';

const REGRESSIONS = fileURLToPath(new URL('../test/sim/regressions.json', import.meta.url));
const PROGRESS_MS = 10_000;

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string' },
    seed: { type: 'string' },
    regressions: { type: 'boolean', default: false },
    vary: { type: 'boolean', default: false },
    profile: { type: 'string' },
    failures: { type: 'string', default: '3' },
    'no-shrink': { type: 'boolean', default: false },
    trace: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
if (options.profile !== undefined && !['calm', 'rough', 'hostile'].includes(options.profile)) {
  console.error(`sim: expected --profile calm, rough or hostile, found ${options.profile}`);
  process.exit(2);
}

async function* orders() {
  const common = {
    shrinks: !options['no-shrink'],
    varies: options.vary,
    ...(options.profile && { roughness: options.profile }),
  };
  if (options.regressions) {
    const known = JSON.parse(await readFile(REGRESSIONS, 'utf8'));
    for (const { schedule } of known) yield { ...common, seed: schedule.seed, schedule };
    return;
  }
  if (options.seed !== undefined) {
    yield { ...common, seed: options.seed };
    return;
  }
  const first = options.first ?? `${Date.now().toString(36)}-`;
  if (!options.json) console.log(`seeds ${first}0 to ${first}${Number(options.seeds) - 1}`);
  for (let at = 0; at < Number(options.seeds); at += 1) yield { ...common, seed: `${first}${at}` };
}

function report({ guarantee, message, text, trace }) {
  console.log(
    `\nFAILED ${guarantee}\n${message}\n\n${text}\n\n${trace.slice(-Number(options.trace)).join('\n')}\n`,
  );
}

const directory = await mkdtemp(join(tmpdir(), 'simulator-'));
const bundle = join(directory, 'simulator.cjs');
const counts = {};
const failures = [];
let played = 0;
const all = [];
for await (const order of orders()) all.push(order);
try {
  await bundleSimulator({ entry: 'test/sim/run.ts', output: bundle });
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  const progress = setInterval(() => {
    if (!options.json)
      console.log(`${played} of ${all.length} schedules, ${(played / seconds()).toFixed(0)} a second`);
  }, PROGRESS_MS);
  await playAll(bundle, all, ({ seed, counts: its, failure }) => {
    played += 1;
    for (const [topic, times] of Object.entries(its)) counts[topic] = (counts[topic] ?? 0) + times;
    if (!failure) return false;
    failures.push({ seed, ...failure });
    if (!options.json) report(failure);
    return failures.length >= Number(options.failures);
  });
  clearInterval(progress);
  const coverage = Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
  const perSecond = played / seconds();
  if (options.json) {
    console.log(JSON.stringify({ played, perSecond, failures, coverage }, null, 2));
  } else {
    for (const [topic, times] of Object.entries(coverage))
      console.log(`${String(times).padStart(9)}  ${topic}`);
    console.log(`${played} schedules, ${failures.length} failed, ${perSecond.toFixed(0)} a second`);
  }
  process.exitCode = failures.length === 0 ? 0 : 1;
} finally {
  await rm(directory, { recursive: true, force: true });
}
