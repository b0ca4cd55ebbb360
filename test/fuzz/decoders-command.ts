/**
 * decoders-command: `npm run fuzz -- --cases N [--decoder NAME] [--first SEED] [--case SEED]`.
 */
import { parseArgs } from 'node:util';
import { decoders } from './decoders.js';
import { play, seedsFrom } from './play.js';

const PROGRESS_MS = 10_000;
const INPUT_SHOWN_BYTES = 2_000;
const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '20000' },
    decoder: { type: 'string' },
    first: { type: 'string', default: `${Date.now()}-` },
    case: { type: 'string' },
  },
});

const all = await decoders();
const chosen = all.filter(({ name }) => values.decoder === undefined || name === values.decoder);
if (chosen.length === 0) {
  console.error(
    `fuzz: no decoder ${values.decoder ?? ''}; there are ${all.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
console.log(`fuzz: seeds ${values.case ?? `${values.first}0 and on`}`);
let failed = 0;
for (const decoder of chosen) {
  const share = values.decoder === undefined ? (decoder.share ?? 1) : 1;
  const wanted = Math.ceil(Number(values.cases) * share);
  const seeds = values.case === undefined ? seedsFrom(values.first, wanted) : [values.case];
  const startedMs = performance.now();
  let toldMs = startedMs;
  const { cases, refused, slowestMs, failure } = await play(decoder, seeds, (played) => {
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    console.log(`fuzz: ${decoder.name}: ${played} of ${wanted}`);
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = `${Math.round(cases / seconds)} a second, slowest ${slowestMs.toFixed(0)} ms`;
  console.log(`fuzz: ${decoder.name}: ${cases} cases, ${refused} refused, ${rate}`);
  if (!failure) continue;
  failed++;
  const { seed, what, input } = failure;
  console.log(`FAILED --decoder ${decoder.name} --case ${seed}: ${what}`);
  console.log(`    ${input.length} bytes: ${input.subarray(0, INPUT_SHOWN_BYTES).toString('base64')}`);
}
for (const { close } of all) await close?.();
process.exit(failed > 0 ? 1 : 0);
