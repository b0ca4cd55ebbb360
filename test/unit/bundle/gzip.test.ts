import t from 'tap';
import { gzipSync } from 'node:zlib';
import { compress, decompress } from '../../../src/bundle/gzip.js';
import { refusal, stateBytes } from './fixtures/bundles.js';

const CONTENT = stateBytes(3000, 'gzip');
const PACKED = compress(CONTENT);

function refused(data: Uint8Array, bytesMax = 4000): Promise<string> {
  return refusal(async () => Promise.resolve(decompress(data, bytesMax)));
}

function changed(at: number): Uint8Array {
  const copy = Buffer.from(PACKED);
  const index = at < 0 ? copy.length + at : at;
  copy.writeUInt8(copy.readUInt8(index) ^ 1, index);
  return copy;
}

t.test('what is compressed reads back, up to the bound exactly', async (t) => {
  t.same(Buffer.from(decompress(PACKED, 4000)), CONTENT);
  t.same(Buffer.from(decompress(PACKED, CONTENT.length)), CONTENT);
  t.same(Buffer.from(decompress(compress(Buffer.alloc(0)), 1)), Buffer.alloc(0));
});

t.test('the header tells neither time nor operating system', async (t) => {
  t.same([...PACKED.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
});

t.test(
  'G1: anything but one whole member within the bound is refused, and the message says why',
  async (t) => {
    const follows = /other data follows the end of the gzip data/;
    const cases: readonly [string, Uint8Array, RegExp][] = [
      ['nothing', Buffer.alloc(0), /it is empty$/],
      ['zeros, as a crash leaves them', Buffer.alloc(PACKED.length), /it is not gzip data$/],
      ['plain tar', Buffer.from('manifest.json'), /it is not gzip data$/],
      ['one byte', PACKED.subarray(0, 1), /it is not gzip data$/],
      ['the header alone', PACKED.subarray(0, 10), /it is truncated/],
      ['all but the last byte', PACKED.subarray(0, -1), /it is truncated/],
      ['another CRC', changed(-5), /does not match its gzip CRC$/],
      ['another length', changed(-4), /does not have the length that gzip recorded$/],
      ['another method', changed(2), /its gzip data is damaged \(unknown compression method\)$/],
      ['trailing text', Buffer.concat([PACKED, Buffer.from('text')]), follows],
      ['a trailing zero', Buffer.concat([PACKED, Buffer.alloc(1)]), follows],
      ['trailing zeros', Buffer.concat([PACKED, Buffer.alloc(512)]), follows],
      ['a second member', Buffer.concat([PACKED, gzipSync('more')]), follows],
      ['an empty second member', Buffer.concat([PACKED, gzipSync('')]), follows],
    ];
    for (const [name, data, message] of cases) {
      const said = await refused(data);
      t.match(said, /^GENERATION_DAMAGED: cannot read bundle: /, name);
      t.match(said, message, name);
    }
    t.match(await refused(PACKED, 2999), /it unpacks to more than 2999 bytes, the most that is accepted$/);
  },
);
