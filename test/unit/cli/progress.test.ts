import { EventEmitter, once } from 'node:events';
import t from 'tap';
import { Interruptible, Progress } from '../../../src/cli/progress.js';

function screen(isWatched: boolean): {
  terminal: ConstructorParameters<typeof Progress>[0]['terminal'];
  shown: string[];
} {
  const shown: string[] = [];
  const terminal = {
    out: (text: string) => void shown.push(`out ${text}`),
    err: (text: string) => void shown.push(`err ${text}`),
    isInteractive: isWatched,
    isWatched,
    isColoured: false,
    columns: 80,
    rows: 24,
  };
  return { terminal, shown };
}

t.test('progress is one line that is written over, and results never stand behind it', async (t) => {
  const { terminal, shown } = screen(true);
  const progress = new Progress({ terminal });
  progress.out('before\n');
  progress.show('1 of 2');
  progress.out('result\n');
  progress.clear();
  progress.clear();
  const CLEAR = '\r\u001b[K';
  t.strictSame(shown, [
    'out before\n',
    `err ${CLEAR}1 of 2`,
    `err ${CLEAR}`,
    'out result\n',
    'err 1 of 2',
    `err ${CLEAR}`,
  ]);
});

t.test('where nobody watches there are results alone', async (t) => {
  const { terminal, shown } = screen(false);
  const progress = new Progress({ terminal });
  progress.show('1 of 2');
  progress.out('result\n');
  progress.clear();
  t.strictSame(shown, ['out result\n']);
});

t.test('an interruption ends the step under way with what to do next', async (t) => {
  const user = new EventEmitter();
  const interruptible = new Interruptible({ interrupted: async () => String((await once(user, 'key'))[0]) });
  const told = () => ({ message: 'interrupted: 1 of 2 done', next: 'run it again' });
  t.equal(await interruptible.step(Promise.resolve('done'), told), 'done');
  const step = interruptible.step(new Promise(() => undefined), told);
  user.emit('key', 'SIGINT');
  await t.rejects(step, { code: 'INTERRUPTED', message: 'interrupted: 1 of 2 done', next: 'run it again' });
});
