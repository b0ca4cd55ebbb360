import fc from 'fast-check';
import t from 'tap';
import {
  isDomainUuid,
  isHostName,
  parseDomainUuid,
  parseHostName,
  quoted,
} from '../../../src/model/identifiers.js';
import { anyHostName, anyText } from '../../fixtures/log-arbitraries.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
/** What would lead a path elsewhere, or a line of output. */
const HOSTILE = [
  '',
  '.',
  '..',
  '../x',
  'a/../b',
  '/etc',
  'a/b',
  'a\\b',
  'a\0b',
  'a\nb',
  ' a',
  'a ',
  'a b',
  '-',
  '-a',
  'a-',
  '.a',
  'a.',
  'a..b',
  'ü',
  '*',
  '$(id)',
];

t.test('a UUID is taken in any case and carried in lower case', async (t) => {
  t.equal(parseDomainUuid(UUID.toUpperCase()), UUID);
  t.ok(isDomainUuid(UUID));
  t.notOk(isDomainUuid(UUID.toUpperCase()), 'a directory has one spelling');
});

t.test('what is not exactly a UUID is a usage error', async (t) => {
  const near = [
    `${UUID}\n`,
    `\n${UUID}`,
    ` ${UUID}`,
    `${UUID}0`,
    UUID.slice(1),
    UUID.replaceAll('-', ''),
    `{${UUID}}`,
    `../${UUID}`,
    `${UUID}/..`,
    `${UUID}\0`,
    UUID.replace('6', 'g'),
  ];
  for (const text of [...near, ...HOSTILE]) {
    t.throws(() => parseDomainUuid(text), { code: 'USAGE', exitStatus: 2 }, JSON.stringify(text));
    t.notOk(isDomainUuid(text));
  }
});

t.test('host names: letters, digits, inner dots and hyphens, in lower case', async (t) => {
  t.equal(parseHostName('KVM-A.Example.org'), 'kvm-a.example.org');
  for (const name of ['a', '7', 'kvm-a', 'a--b', 'a'.repeat(63)]) t.ok(isHostName(name), name);
});

t.test('a host name that would not be one file name is a configuration error', async (t) => {
  for (const text of [...HOSTILE, 'a\n', 'a'.repeat(64), 'a'.repeat(100_000)]) {
    t.throws(
      () => parseHostName(text),
      { code: 'CONFIG_INVALID', exitStatus: 2 },
      JSON.stringify(text.slice(0, 70)),
    );
    t.notOk(isHostName(text));
  }
});

t.test('whatever is taken for a host name is one plain file name', async () => {
  const isPlain = (name: string): boolean =>
    /^[a-z0-9.-]{1,63}$/.test(name) && !/^[.-]|[.-]$|\.\./.test(name);
  fc.assert(
    fc.property(fc.oneof(fc.string(), anyText(), anyHostName), (text) => !isHostName(text) || isPlain(text)),
  );
  fc.assert(fc.property(anyHostName, (name) => parseHostName(name) === name));
});

t.test('a quoted value stays on one line, short and printable, whatever it is', async (t) => {
  t.equal(quoted('a "b"'), '"a \\"b\\""');
  t.equal(quoted('\u009b2J\u0085\u2028\u007f'), '"\\u009b2J\\u0085\\u2028\\u007f"');
  fc.assert(
    fc.property(anyText(300), (text) => {
      const line = quoted(text);
      return line.length <= 6 * 81 + 2 && !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(line);
    }),
  );
  t.ok(quoted('x'.repeat(10_000)).length < 100);
});
