/**
 * Every reachable state of one domain's lifecycle, with every event in every order: see `test/fixtures/lifecycle-walk.ts`.
 */
import t from 'tap';
import { explore } from '../../fixtures/lifecycle-walk.js';

t.test('G5: no state is reached in which a domain stands still in silence, whichever TPM comes up', (t) => {
  const { states, steps, standing } = explore(['a', 'b', 'f']);
  t.comment(`${states} states, ${steps} steps`);
  for (const [kind, count] of standing) t.comment(`${String(count).padStart(8)}  ${kind}`);
  t.ok(states > 10_000, 'it went far');
  t.notOk(standing.has(''));
  t.end();
});
