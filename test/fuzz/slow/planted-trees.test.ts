import t from 'tap';
import { playTrees } from '../planted-trees.js';

const TREES = 80;

t.test('G7: whatever is planted, nothing outside share and host is touched, read or deleted', async (t) => {
  const seeds = Array.from({ length: TREES }, (_, at) => `fixed-${at}`);
  const { failures, outcomes, trees } = await playTrees(seeds);
  t.strictSame(failures, []);
  t.equal(trees, TREES);
  t.ok((outcomes.get('SHARE_TAMPERED') ?? 0) > 5 && (outcomes.get('ok') ?? 0) > 50, 'both are played');
});
