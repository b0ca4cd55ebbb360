import fc from 'fast-check';
import t from 'tap';
import {
  CHUNK_BYTES,
  contentBytes,
  contentChunks,
  ContentReader,
  sha256Of,
  TAIL_BYTES_MIN,
  wholeContent,
  withoutTail,
} from '../../../src/model/content.js';
import { sha256 } from '../../../src/model/hash.js';

/** Runs of one byte and of others, longer and shorter than a piece. */
const RUNS = fc.array(
  fc.record({
    byte: fc.constantFrom(0, 0xff, 7),
    length: fc.constantFrom(0, 1, 512, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES),
  }),
  { maxLength: 4 },
);

t.test('any file is the same with its tail as a number, in whatever pieces it was read', async () => {
  fc.assert(
    fc.property(RUNS, fc.integer({ min: 1, max: 2 * CHUNK_BYTES }), (runs, pieceBytes) => {
      const file = Buffer.concat(runs.map(({ byte, length }) => Buffer.alloc(length, byte)));
      const reader = new ContentReader();
      for (let at = 0; at < file.length; at += pieceBytes) reader.add(file.subarray(at, at + pieceBytes));
      const read = reader.end();
      for (const content of [read.content, withoutTail(file)]) {
        const isSame =
          Buffer.compare(wholeContent(content), file) === 0 &&
          Buffer.compare(Buffer.concat([...contentChunks(content)]), file) === 0 &&
          contentBytes(content) === file.length &&
          sha256Of(content) === sha256(file);
        if (!isSame) return false;
      }
      return read.sha256 === sha256(file);
    }),
    { numRuns: 60 },
  );
});

t.test('flash that is nearly empty takes as much memory as what is in it', async (t) => {
  const flash = Buffer.alloc(64 * CHUNK_BYTES, 0xff);
  flash.fill('variables', 0, 4096);
  const { data, tail } = withoutTail(flash);
  t.equal(data.length, CHUNK_BYTES);
  t.strictSame(tail, { byte: 0xff, length: 63 * CHUNK_BYTES });
  t.ok(data.buffer.byteLength <= CHUNK_BYTES, 'nothing of the rest is kept');
  t.equal(withoutTail(Buffer.alloc(TAIL_BYTES_MIN - 1)).tail, undefined, 'a short run is content');
});
