/**
 * What a host knows of its claim after a start that failed.
 */
import t from 'tap';
import { holdAfterFailedStart } from '../../../src/model/hold.js';
import { STOPPED, type Hold, type Lifecycle } from '../../../src/model/lifecycle-state.js';

const KNOWN = 3;
const CLAIM = 9;
const PENDING = { digest: 'a'.repeat(64), spooled: true };

function left(hold: Hold, pending?: Lifecycle['pending']): Lifecycle {
  return { ...STOPPED, hold, pending };
}

t.test('the claim of a start that failed is given back', (t) => {
  t.strictSame(holdAfterFailedStart(left({ kind: 'none' }), CLAIM, KNOWN), { kind: 'doubt', epoch: CLAIM });
  t.end();
});

t.test('one that may be under way is settled first', (t) => {
  t.strictSame(holdAfterFailedStart(left({ kind: 'none' }), 'unknown', KNOWN), {
    kind: 'doubt',
    epoch: KNOWN,
    claiming: true,
  });
  t.end();
});

t.test('G4: what the last run left belongs to the claim before that of the start', (t) => {
  const holds: readonly Hold[] = [
    { kind: 'held', epoch: KNOWN, next: 5 },
    { kind: 'doubt', epoch: KNOWN },
    { kind: 'fenced', epoch: KNOWN, by: 'kvm-b' },
  ];
  for (const hold of holds) {
    t.strictSame(holdAfterFailedStart(left(hold, PENDING), CLAIM, KNOWN), { kind: 'doubt', epoch: KNOWN });
  }
  t.end();
});

t.test('G4: what was captured without any claim is judged as before', (t) => {
  for (const how of ['adopt', 'migration'] as const) {
    t.strictSame(holdAfterFailedStart(left({ kind: 'wanted', how }, PENDING), CLAIM, KNOWN), {
      kind: 'wanted',
      how,
      inDoubt: true,
    });
  }
  t.end();
});
