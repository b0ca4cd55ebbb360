import fc from 'fast-check';
import t from 'tap';
import { safeText } from '../../../src/cli/safe-text.js';
import { frame } from '../../../src/cli/screen.js';

const RED = '\u001b[31m';
const PLAIN = '\u001b[0m';
/** What a terminal acts on, and what turns a line round. */
// eslint-disable-next-line no-control-regex -- that none is left is the point
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const HOSTILE = [
  '\u001b[2J\u001b[H',
  '\u001b]0;title\u0007',
  '\u001b]52;c;cm0gLXJmIC8=\u0007',
  '\u001bP+q544e\u001b\\',
  '\u009b31m',
  '\r\u001b[K',
  '\b\b\b',
  '\u202egnp.exe',
  '\u2066\u2069',
  '\u2028',
  '\u007f',
  '\0',
];

t.test('nothing that a terminal acts on passes, whatever it stands in', (t) => {
  for (const hostile of HOSTILE) {
    for (const text of [
      hostile,
      `vm ${hostile} name\n`,
      `GENERATION\t${hostile}\n`,
      `${RED}${hostile}${PLAIN}\n`,
    ]) {
      t.notMatch(safeText(text, false), UNSAFE, encodeURIComponent(text));
      // eslint-disable-next-line no-control-regex
      const coloured = safeText(text, true).replaceAll(/\u001b\[\d{1,2}m/g, '');
      t.notMatch(coloured, UNSAFE, `coloured ${encodeURIComponent(text)}`);
    }
  }
  t.end();
});

t.test('what people and programs are shown stays as it is', (t) => {
  for (const text of ['plain\n', 'a\tb\n', 'Käse, 日本語, 🦊\n', '']) {
    t.equal(safeText(text, false), text);
    t.equal(safeText(text, true), text);
  }
  t.equal(safeText(`${RED}x${PLAIN}\n`, true), `${RED}x${PLAIN}\n`);
  const shown = frame(['one\ntwo\n', `${RED}three${PLAIN}\n`], { rows: 20, columns: 40 });
  t.equal(safeText(shown, true), shown);
  t.end();
});

t.test('JSON says the same to whoever parses it, and nothing to a terminal', (t) => {
  const value = fc.record({
    name: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...HOSTILE)),
    list: fc.array(fc.string()),
  });
  fc.assert(
    fc.property(value, fc.boolean(), (each, indented) => {
      const text = `${JSON.stringify(each, null, indented ? 2 : 0)}\n`;
      const safe = safeText(text, false);
      return !UNSAFE.test(safe) && JSON.stringify(JSON.parse(safe)) === JSON.stringify(each);
    }),
  );
  t.end();
});
