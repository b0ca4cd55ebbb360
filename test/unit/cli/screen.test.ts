import t from 'tap';
import { frame } from '../../../src/cli/screen.js';

t.test('each line is overwritten in place, and what was below is cleared', async (t) => {
  t.equal(frame('one\ntwo\n', 24), '\u001b[Hone\u001b[K\ntwo\u001b[K\n\u001b[J');
});

t.test('what is longer than the screen is cut, and says so: nothing ever scrolls', async (t) => {
  const text = Array.from({ length: 30 }, (_, at) => `line ${String(at)}\n`).join('');
  const lines = frame(text, 10).split('\n');
  t.equal(lines.length, 10, 'nine lines, and the one of the cursor');
  t.match(lines[7], 'line 7');
  t.match(lines[8], '… and 22 more lines');
  t.equal(frame(text, 31).split('\n').length, 31);
  t.notMatch(frame(text, 31), 'more lines');
});
