import t from 'tap';
import { clearing, frame } from '../../../src/cli/screen.js';

t.test('each line is overwritten in place, and what was below is cleared', async (t) => {
  t.equal(
    frame(['one\n', '', 'two\n'], { rows: 24, columns: 80 }),
    '\u001b[Hone\u001b[K\ntwo\u001b[K\n\u001b[J',
  );
});

t.test('what is longer than the screen is cut, and says so: nothing ever scrolls', async (t) => {
  const text = Array.from({ length: 30 }, (_, at) => `line ${String(at)}\n`).join('');
  const lines = frame([text], { rows: 10, columns: 80 }).split('\n');
  t.equal(lines.length, 10, 'nine lines, and the one of the cursor');
  t.match(lines[7], 'line 7');
  t.match(lines[8], '… and 22 more lines');
  t.equal(frame([text], { rows: 31, columns: 80 }).split('\n').length, 31);
  t.notMatch(frame([text], { rows: 31, columns: 80 }), 'more lines');
});

t.test('a long section leaves room for those below it, and takes what they do not need', async (t) => {
  const many = (name: string, count: number): string =>
    Array.from({ length: count }, (_, at) => `${name} ${String(at)}\n`).join('');
  const shown = (rows: number): string[] =>
    frame(['head\n', many('domain', 50), many('notice', 3)], { rows, columns: 80 })
      .replace('\u001b[H', '')
      .split('\u001b[K\n')
      .slice(0, -1);
  const lines = shown(12);
  t.equal(lines.length, 11);
  t.strictSame(lines.slice(-5), ['domain 5', '… and 44 more lines', 'notice 0', 'notice 1', 'notice 2']);
  t.strictSame(shown(6), ['head', 'domain 0', '… and 49 more lines', 'notice 0', '… and 2 more lines']);
  t.equal(shown(2).length, 3, 'a line of each, whatever the height');
});

t.test('a line that the terminal would wrap is cut at its width, colours not counted', async (t) => {
  const text = 'four \u001b[31mred letters\u001b[0m and more\n';
  t.equal(frame([text], { rows: 9, columns: 8 }), '\u001b[Hfour \u001b[31mred\u001b[0m\u001b[K\n\u001b[J');
});

t.test('what stood on the screen is scrolled away, not overwritten', async (t) => {
  t.equal(clearing(3), '\n\n\n');
});
