import { readFile } from 'node:fs/promises';
import t from 'tap';
import { MUTANTS } from '../../sim/mutants.mjs';

t.test('every deliberate fault still has its place in the sources', async (t) => {
  for (const { name, edits } of MUTANTS) {
    for (const { file, find, replace } of edits) {
      const pieces = (await readFile(`src/${file}`, 'utf8')).split(find);
      t.equal(pieces.length, 2, `${name}: in src/${file}`);
      t.not(find, replace);
    }
  }
});
