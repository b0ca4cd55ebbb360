/**
 * mutate: input that is nearly right: valid specimens with pieces changed, taken out, doubled, or put in from others.
 */
import type { SeededRandom } from '../sim/random.js';

/** Bytes, lengths and numbers at which parsers of all kinds make mistakes. */
const NUMBERS = [0, 1, 2, 9, 10, 13, 31, 32, 34, 39, 47, 60, 62, 127, 128, 255] as const;
const PIECES = [
  '\0',
  '\n',
  '\r\n',
  ' ',
  '"',
  "'",
  '<',
  '>',
  '&',
  '&#x41;',
  '&amp;',
  ']]>',
  '<!--',
  '<![CDATA[',
  '<?x?>',
  '<!DOCTYPE d [<!ENTITY e "x">]>',
  '../',
  '..',
  '/',
  '//',
  '%00',
  '%2e%2e%2f',
  '?',
  '#',
  '=',
  '{',
  '}',
  '[',
  ']',
  '{}',
  '[]',
  'null',
  'true',
  '-1',
  '0',
  '1e999',
  '99999999',
  '100000000',
  '9007199254740993',
  '0x10',
  '__proto__',
  'constructor',
  '\u001b[2J',
  '\u009b31m',
  '\u202e',
  '\ufeff',
  '\ud800',
  '-> ',
  '--- ',
  'age1',
  '=0=',
  'ustar\0',
  'claim?',
  'release?host=',
  '../gen/',
  '.tar.gz',
  'e00000001',
  'kvm-a',
  'urn:swtpm-mirror:1',
  'Content-Length: 1\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Host: x\r\n',
].map((text) => Buffer.from(text));
const CHANGES_MAX = 6;
const BYTES_MAX = 512 * 1024;

type Change = (data: Buffer, random: SeededRandom, others: readonly Uint8Array[]) => Uint8Array;

function place(data: Uint8Array, random: SeededRandom): number {
  return random.int(0, data.length);
}

function sliceOf(data: Uint8Array, random: SeededRandom, bytesMax: number): Buffer {
  const at = place(data, random);
  return Buffer.from(data.subarray(at, at + random.int(0, bytesMax)));
}

function put(data: Buffer, at: number, piece: Uint8Array, over = 0): Buffer {
  return Buffer.concat([data.subarray(0, at), piece, data.subarray(at + over)]);
}

function pick<Value>(values: readonly Value[], random: SeededRandom): Value {
  return values[random.int(0, values.length - 1)] as Value;
}

const CHANGES: readonly Change[] = [
  (data, random) => {
    if (data.length === 0) return data;
    const at = random.int(0, data.length - 1);
    data.writeUInt8(data.readUInt8(at) ^ (1 << random.int(0, 7)), at);
    return data;
  },
  (data, random) => {
    if (data.length === 0) return data;
    data.writeUInt8(pick(NUMBERS, random), random.int(0, data.length - 1));
    return data;
  },
  (data, random) => {
    if (data.length < 4) return data;
    const at = random.int(0, data.length - 4);
    const value = pick([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, data.length, data.length - at], random);
    if (random.int(0, 1) === 0) data.writeUInt32BE(value, at);
    else data.writeUInt32LE(value, at);
    return data;
  },
  (data, random) => put(data, place(data, random), pick(PIECES, random)),
  (data, random) => {
    const piece = pick(PIECES, random);
    return put(data, place(data, random), piece, piece.length);
  },
  (data, random) => put(data, place(data, random), Buffer.alloc(0), random.int(1, 64)),
  (data, random) => data.subarray(0, place(data, random)),
  (data, random) => put(data, place(data, random), sliceOf(data, random, 256)),
  (data, random, others) => put(data, place(data, random), sliceOf(pick(others, random), random, 1024)),
  (data, random, others) => {
    const other = pick(others, random);
    return Buffer.concat([data.subarray(0, place(data, random)), other.subarray(place(other, random))]);
  },
  (data, random) => {
    // A piece many times over: depth, and length.
    const piece = random.int(0, 1) === 0 ? pick(PIECES, random) : sliceOf(data, random, 40);
    const times = random.int(2, random.int(0, 20) === 0 ? 4096 : 64);
    return put(data, place(data, random), Buffer.concat(Array<Buffer>(times).fill(piece)));
  },
];

/** A specimen, and now and then as it is, or something that is none at all. */
export function mutated(specimens: readonly Uint8Array[], random: SeededRandom): Buffer {
  let data = Buffer.from(pick(specimens, random));
  const lot = random.int(0, 99);
  if (lot === 0) return data;
  if (lot === 1) return Buffer.from(Array.from({ length: random.int(0, 600) }, () => random.int(0, 255)));
  for (let changes = random.int(1, CHANGES_MAX); changes > 0; changes--) {
    data = Buffer.from(pick(CHANGES, random)(data, random, specimens).subarray(0, BYTES_MAX));
  }
  return data;
}
