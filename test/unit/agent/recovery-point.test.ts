import t from 'tap';
import { RecoveryPoint } from '../../../src/agent/domain/recovery-point.js';
import { ManualClock } from '../../fakes/manual-clock.js';

t.test('the changes that the share has not, and since when', async (t) => {
  const clock = new ManualClock();
  const point = new RecoveryPoint(clock);
  t.match(point, { lagMs: undefined, changes: 0 });
  point.follow(true);
  await clock.advance(100);
  t.match(point, { lagMs: 100, changes: 0 }, 'noticed, and not read yet');
  for (let change = 1; change <= 3; change++) point.changed();
  t.equal(point.changes, 3);
  point.carried();
  point.changed();
  point.arrived();
  point.follow(true);
  t.match(point, { lagMs: 100, changes: 1 }, 'one state on the share stands for all before it');
  point.carried();
  point.changed();
  t.equal(point.changes, 2, 'a publish that failed brought nothing');
  point.carried();
  point.arrived();
  point.follow(false);
  t.match(point, { lagMs: undefined, changes: 0 });
});

t.test('a state that goes back to what the share has leaves nothing behind', async (t) => {
  const point = new RecoveryPoint(new ManualClock());
  point.follow(true);
  point.changed();
  point.follow(false);
  t.match(point, { lagMs: undefined, changes: 0 });
});

t.test('what a former run left is one change at least', async (t) => {
  const clock = new ManualClock();
  const point = new RecoveryPoint(clock);
  point.recalled(5000);
  point.follow(true);
  await clock.advance(100);
  t.match(point, { lagMs: 5100, changes: 1 });
});
