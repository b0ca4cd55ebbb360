/**
 * A share of the fuzzer in every run: fixed cases, and as many fresh ones, whose seed is printed.
 */
import t from 'tap';
import { decoders } from './decoders.js';
import { play, seedsFrom } from './play.js';

const CASES = 300;
const FRESH = `${Date.now()}-`;

t.comment(`fresh seeds ${FRESH}0 and on: npm run fuzz -- --decoder NAME --case SEED`);
const all = await decoders();
t.teardown(async () => {
  for (const { close } of all) await close?.();
});

for (const decoder of all) {
  t.test(`${decoder.name}: whatever it is given it reads, or refuses by name, and ends`, async (t) => {
    const cases = Math.ceil(CASES * Math.max(decoder.share ?? 1, 0.1));
    for (const first of ['fixed-', FRESH]) {
      const { failure } = await play(decoder, seedsFrom(first, cases));
      const which = failure ? `--decoder ${decoder.name} --case ${failure.seed}` : first;
      t.equal(failure?.what, undefined, which);
    }
  });
}
