import t from 'tap';
import { readAgentPlace } from '../../../src/model/agent-place.js';
import { parseConfig } from '../../../src/model/config.js';

const FILES = [
  '',
  'run_dir = "/run//mirror/"\nshare = "/mnt/tpm"',
  '[timing]\nstart_deadline = "1m"\nstop_deadline = "7s"\nshare_deadline = "200ms"',
];

for (const text of FILES) {
  t.test(`the whole configuration and the hook agree about ${JSON.stringify(text)}`, (t) => {
    const { runDir, timing } = parseConfig(text, { hostName: 'kvm-a' });
    const { shareDeadlineMs, startDeadlineMs, stopDeadlineMs } = timing;
    t.strictSame(readAgentPlace(text), {
      runDir,
      timing: { shareDeadlineMs, startDeadlineMs, stopDeadlineMs },
    });
    t.end();
  });
}

t.test('a mistake in what the hook needs is left to the whole configuration', (t) => {
  for (const text of [
    'run_dir = ',
    'run_dir = 1',
    'run_dir = "run"',
    '[timing]\nstop_deadline = 5',
    'timing = 1\nx',
  ]) {
    t.equal(readAgentPlace(text), undefined, text);
  }
  t.end();
});
