import t from 'tap';
import { RestartPolicy } from '../../../src/storage/restart-policy.js';

t.test('the first failure waits for nothing, the next ones twice as long each, up to the bound', (t) => {
  const policy = new RestartPolicy({ firstMs: 100, maxMs: 350 });
  const waits = [0, 1, 2, 3, 4].map((nowMs) => {
    policy.failed(nowMs);
    return policy.waitMs(nowMs);
  });
  t.same(waits, [0, 100, 200, 350, 350]);
  t.equal(policy.waitMs(304), 50);
  t.equal(policy.waitMs(1_000), 0);
  t.end();
});

t.test('an answer ends the history of failures', (t) => {
  const policy = new RestartPolicy({ firstMs: 100, maxMs: 350 });
  for (const nowMs of [0, 1, 2]) policy.failed(nowMs);
  policy.answered();
  t.equal(policy.waitMs(2), 0);
  t.equal(policy.failures, 0);
  policy.failed(3);
  t.equal(policy.waitMs(3), 0);
  t.end();
});
