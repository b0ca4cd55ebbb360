/**
 * gzip: one gzip member in memory, written the same way every time and read with suspicion.
 *
 * I1 What `decompress` returns passed the member's own CRC and length checks, is within the bound, and is all that the input holds.
 * I2 `compress` gives equal output for equal input under one build of zlib: no time, no file name, no operating system.
 *
 * Synchronous on purpose: a bundle takes a millisecond or two, and work that never leaves the turn can be replayed exactly by the simulator.
 */
import { gunzipSync, gzipSync } from 'node:zlib';
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
