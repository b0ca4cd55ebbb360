import fc from 'fast-check';
import t from 'tap';
import { formatByteSize, parseByteSize } from '../../../src/model/byte-size.js';

t.test('sizes are whole numbers with a binary unit', async (t) => {
  t.equal(parseByteSize('0B'), 0);
  t.equal(parseByteSize('64KiB'), 65_536);
  t.equal(parseByteSize('256MiB'), 268_435_456);
  t.equal(parseByteSize('2GiB'), 2_147_483_648);
  t.equal(parseByteSize('1TiB'), 1_099_511_627_776);
});

t.test('anything else is not a size', async (t) => {
  for (const text of ['', '256', '256MB', '256mib', '1.5GiB', '-1B', '1 MiB', 'MiB', '9999999999999B']) {
    t.equal(parseByteSize(text), undefined, JSON.stringify(text));
  }
});

t.test('sizes are formatted in the largest exact unit', async (t) => {
  t.equal(formatByteSize(0), '0B');
  t.equal(formatByteSize(1_610_612_736), '1536MiB');
  t.equal(formatByteSize(1023), '1023B');
});

t.test('a formatted size is parsed to itself', async (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => bytes >= 1e12 || parseByteSize(formatByteSize(bytes)) === bytes),
  );
  t.pass();
});
