import fc from 'fast-check';
import t from 'tap';
import { beginningOf, cellsOf, endOf, paddedTo } from '../../../src/cli/display-cells.js';
import { frame } from '../../../src/cli/screen.js';
import { textTable } from '../../../src/cli/text-table.js';

const NAMES = ['web-1', '数据库-主', 'データベース', 'é'.normalize('NFD'), '🖥️ vm', '👩‍💻', 'naïve', '한국어'];
const text = fc.array(fc.constantFrom(...NAMES, ' ', '-'), { maxLength: 6 }).map((parts) => parts.join(''));

t.test('columns of names in any script begin at the same cell', async (t) => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (names) => {
      const table = textTable(
        ['DOMAIN', 'STATE'],
        names.map((name) => [name, 'STATE']),
        0,
      );
      const places = table
        .trimEnd()
        .split('\n')
        .map((line) => cellsOf(line.slice(0, line.lastIndexOf('STATE'))));
      return new Set(places).size === 1;
    }),
  );
  t.pass();
});

t.test(
  'no line of a table or a screen is wider than the terminal, and no character is cut apart',
  async (t) => {
    fc.assert(
      fc.property(text, text, fc.integer({ min: 12, max: 60 }), (one, other, columns) => {
        const table = textTable(['DOMAIN', 'NOTE'], [[one, other]], columns);
        const screen = frame([`${one}${other}`], { rows: 5, columns });
        // eslint-disable-next-line no-control-regex
        const lines = [...table.split('\n'), ...screen.replaceAll(/\u001b\[\d*[A-Za-z]/g, '').split('\n')];
        return lines.every((line) => cellsOf(line) <= columns && !line.includes('\ufffd'));
      }),
    );
    t.pass();
  },
);

t.test('a text is cut at either end to whole characters, and padded to cells', async (t) => {
  t.equal(cellsOf('数据'), 4);
  t.equal(beginningOf('数据库', 5), '数据');
  t.equal(endOf('数据库', 3), '库');
  t.equal(paddedTo('数', 4), '数  ');
  t.equal(beginningOf('web', 9), 'web');
  t.equal(endOf('web', 0), '');
  t.equal(beginningOf('👩‍💻x', 1), '');
});
