/**
 * sim-mutants: proves that the simulator notices: each deliberate fault of test/sim/mutants.mjs is made in a copy of src/, and schedules are played until
 * one breaks a guarantee that it keeps with the sources as they are. The schedules that failed once come first (test/sim/regressions.json), then variations
 * of those and fresh ones in turn.
 *
 *   npm run sim:mutants                    all of them
 *   npm run sim:mutants -- --only sync     those with this word in their name
 *   npm run sim:mutants -- --seeds 2000    schedules tried for each (default 1500)
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MUTANTS } from '../test/sim/mutants.mjs';
import { bundleSimulator } from './lib/bundle-simulator.mjs';
import { playAll, SimulatorWorker } from './lib/simulator-workers.mjs';

const REGRESSIONS = new URL('../test/sim/regressions.json', import.meta.url);
const SOURCE = fileURLToPath(new URL('../src', import.meta.url));
const ENTRY = 'test/sim/run.ts';

const { values: options } = parseArgs({
  options: { only: { type: 'string', default: '' }, seeds: { type: 'string', default: '1500' } },
});

const regressions = JSON.parse(await readFile(REGRESSIONS, 'utf8')).map(({ schedule }) => ({
  seed: schedule.seed,
  schedule,
}));

/** A copy of the sources with the mutant's faults. */
async function mutate({ name, edits }, directory) {
  const source = join(directory, 'src');
  await rm(source, { recursive: true, force: true });
  await cp(SOURCE, source, { recursive: true });
  for (const { file, find, replace } of edits) {
    const path = join(source, file);
    const pieces = (await readFile(path, 'utf8')).split(find);
    if (pieces.length !== 2) {
      throw new Error(
        `mutant "${name}": expected its text once in src/${file}, found it ${pieces.length - 1} times`,
      );
    }
    await writeFile(path, pieces.join(replace));
  }
  return source;
}

/** @returns the first failure that the sources themselves do not have */
async function hunt(mutant, directory, baseline) {
  const bundle = join(directory, 'mutant.cjs');
  await bundleSimulator({ entry: ENTRY, output: bundle, source: await mutate(mutant, directory) });
  const fresh = Array.from({ length: Number(options.seeds) }, (_, at) => ({
    seed: `mutant-${at}`,
    varies: at % 2 === 1,
  }));
  const orders = [...regressions, ...fresh].map((order) => ({ ...order, shrinks: false }));
  const suspects = [];
  let played = 0;
  let caught;
  const judge = async () => {
    for (let suspect = suspects.shift(); suspect && !caught; suspect = suspects.shift()) {
      const { failure } = await baseline.play(orders.find(({ seed }) => seed === suspect.seed));
      if (!failure) caught = suspect;
    }
  };
  let judging = Promise.resolve();
  await playAll(bundle, orders, (result) => {
    played += 1;
    if (result.failure) {
      suspects.push({ seed: result.seed, played, ...result.failure });
      judging = judging.then(judge);
    }
    return caught !== undefined;
  });
  await judging;
  return caught;
}

const directory = await mkdtemp(join(tmpdir(), 'mutants-'));
let missed = 0;
let tried = 0;
try {
  const bundle = join(directory, 'baseline.cjs');
  await bundleSimulator({ entry: ENTRY, output: bundle });
  const baseline = new SimulatorWorker(bundle);
  for (const mutant of MUTANTS.filter(({ name }) => name.includes(options.only))) {
    const started = performance.now();
    const caught = await hunt(mutant, directory, baseline);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    tried += 1;
    if (!caught) missed += 1;
    const verdict = caught ? `${caught.guarantee.padEnd(9)} after ${caught.played} schedules` : 'NOT CAUGHT';
    console.log(`${mutant.name.padEnd(64)} ${verdict}, ${seconds} s`);
    if (caught) console.log(`    ${caught.seed}: ${caught.message}`);
  }
  baseline.end();
} finally {
  await rm(directory, { recursive: true, force: true });
}
console.log(`${tried - missed} of ${tried} mutants caught`);
process.exitCode = missed === 0 ? 0 : 1;
