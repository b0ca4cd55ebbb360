import t from 'tap';
import { countedInodes } from '../../../src/storage/node-filesystem.js';

t.test('inodes that a file system does not count are no shortage of them', (t) => {
  for (const [total, free, counted] of [
    [1_000_000, 999, 999],
    [1_000_000, 0, 0],
    [0, 0, Infinity],
    [1_000, 18_446_744_073_709_552_000, Infinity],
    [18_446_744_073_709_552_000, 18_446_744_073_709_552_000, Infinity],
  ] as const) {
    t.equal(countedInodes(total, free), counted, `${free} of ${total}`);
  }
  t.end();
});
