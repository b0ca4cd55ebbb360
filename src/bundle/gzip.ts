/**
 * gzip: one gzip member in memory, written the same way every time and read with suspicion.
 *
 * I1 What `decompress` returns passed the member's own CRC and length checks, is within the bound, and is all that the input holds.
 * I2 `compress` gives equal output for equal input under one build of zlib: no time, no file name, no operating system.
 *
 * Synchronous on purpose: a bundle takes a millisecond or two, and work that never leaves the turn can be replayed exactly by the simulator.
 */
import { constants, crc32, deflateRawSync, gunzipSync, gzipSync } from 'node:zlib';
import { damaged } from './damaged.js';

const OPERATING_SYSTEM_AT = 9;
const OPERATING_SYSTEM_UNKNOWN = 255;
const LENGTH_FIELD_BYTES = 4;

const FAULTS: Readonly<Record<string, string>> = {
  'unexpected end of file': 'it is truncated: the gzip data ends too early',
  'incorrect data check': 'its content does not match its gzip CRC',
  'incorrect length check': 'its content does not have the length that gzip recorded',
  'incorrect header check': 'other data follows the end of the gzip data',
};

export function compress(data: Uint8Array): Uint8Array {
  const packed = gzipSync(data);
  packed[OPERATING_SYSTEM_AT] = OPERATING_SYSTEM_UNKNOWN;
  return packed;
}

/** Raw deflate of whole pieces that come again and again, by the very buffer. */
const DEFLATED = new WeakMap<Uint8Array, Buffer>();
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, OPERATING_SYSTEM_UNKNOWN]);
/** An empty last block. */
const END = Buffer.from([0x03, 0x00]);

/**
 * The same for content in pieces, of which some are one buffer many times over: each is compressed by itself, and a piece that was met before not again.
 * One gzip member all the same.
 */
export function compressChunks(chunks: readonly Uint8Array[]): Uint8Array {
  const pieces: Buffer[] = [HEADER];
  let check = 0;
  let length = 0;
  for (const chunk of chunks) {
    check = crc32(chunk, check);
    length += chunk.length;
    pieces.push(deflated(chunk));
  }
  const trailer = Buffer.alloc(2 * LENGTH_FIELD_BYTES);
  trailer.writeUInt32LE(check, 0);
  trailer.writeUInt32LE(length % 2 ** 32, LENGTH_FIELD_BYTES);
  return Buffer.concat([...pieces, END, trailer]);
}

/** Ends with a block boundary on a byte, and refers to nothing before it. */
function deflated(chunk: Uint8Array): Buffer {
  const known = DEFLATED.get(chunk);
  if (known) return known;
  const made = deflateRawSync(chunk, { finishFlush: constants.Z_FULL_FLUSH });
  DEFLATED.set(chunk, made);
  return made;
}

/**
 * @param bytesMax largest output taken; nothing beyond it is ever held in memory
 * @throws MirrorError `GENERATION_DAMAGED` for anything but one whole gzip member within the bound
 */
export function decompress(data: Uint8Array, bytesMax: number): Uint8Array {
  if (data.length === 0) throw damaged('it is empty');
  if (data[0] !== 0x1f || data[1] !== 0x8b) throw damaged('it is not gzip data');
  const unpacked = gunzip(data, bytesMax);
  // zlib skips zero bytes after a member and joins members. Either way the last length field is no longer that of all the output.
  const recorded = Buffer.from(data.subarray(-LENGTH_FIELD_BYTES)).readUInt32LE();
  if (recorded !== unpacked.length) {
    throw damaged(
      `other data follows the end of the gzip data (recorded length ${recorded}, expected ${unpacked.length})`,
    );
  }
  return unpacked;
}

function gunzip(data: Uint8Array, bytesMax: number): Uint8Array {
  try {
    return gunzipSync(data, { maxOutputLength: bytesMax });
  } catch (error) {
    if (error instanceof RangeError) {
      throw damaged(`it unpacks to more than ${bytesMax} bytes, the most that is accepted`, error);
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw damaged(FAULTS[reason] ?? `its gzip data is damaged (${reason})`, error);
  }
}
