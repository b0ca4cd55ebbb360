/**
 * content: a file's bytes, of which a long run of one byte at the end is kept as a number. Flash is nearly all `0xff`: Arm's 64 MiB are
 * less than 1 MiB of variables and one such run.
 *
 * I1 Memory for a file is what comes before its run, and `CHUNK_BYTES`.
 */
import { createHash, type Hash } from 'node:crypto';

/** What a file ends with. */
export interface Tail {
  readonly byte: number;
  /** Bytes, at least `TAIL_BYTES_MIN`. */
  readonly length: number;
}

export interface Content {
  /** Without the tail. */
  readonly data: Uint8Array;
  readonly tail?: Tail | undefined;
}

export const CHUNK_BYTES = 1024 * 1024;
/** Shorter runs are bytes like others. */
export const TAIL_BYTES_MIN = CHUNK_BYTES;

const FILLS = new Map<number, Buffer>();

/** `CHUNK_BYTES` of one byte: the same buffer each time, never to be written to. */
export function fillOf(byte: number): Uint8Array {
  const known = FILLS.get(byte);
  if (known) return known;
  const made = Buffer.alloc(CHUNK_BYTES, byte);
  FILLS.set(byte, made);
  return made;
}

export function contentBytes({ data, tail }: Content): number {
  return data.length + (tail?.length ?? 0);
}

/** All of it, in pieces; those of the tail are `fillOf` its byte, or the beginning of that. */
export function* contentChunks({ data, tail }: Content): Generator<Uint8Array> {
  if (data.length > 0) yield data;
  for (let left = tail?.length ?? 0; left > 0; left -= CHUNK_BYTES) {
    const fill = fillOf(tail?.byte ?? 0);
    yield left >= CHUNK_BYTES ? fill : fill.subarray(0, left);
  }
}

/** All of it as one piece: for what is small, or has to be. */
export function wholeContent(content: Content): Uint8Array {
  return content.tail ? Buffer.concat([...contentChunks(content)]) : content.data;
}

export function sha256Of(content: Content): string {
  const hash = createHash('sha256');
  for (const chunk of contentChunks(content)) hash.update(chunk);
  return hash.digest('hex');
}

/** A whole file with its tail as a number; what it shares with `data` is copied, so that that can be freed. */
export function withoutTail(data: Uint8Array): Content {
  const reader = new ContentReader();
  for (let at = 0; at < data.length; at += CHUNK_BYTES) reader.add(data.subarray(at, at + CHUNK_BYTES));
  const { content } = reader.end();
  return content.tail ? { ...content, data: Buffer.from(content.data) } : { data };
}

/** Takes a file in pieces. */
export class ContentReader {
  readonly #hash: Hash = createHash('sha256');
  #chunks: Uint8Array[] = [];
  /** The run that the file ends with so far; of whole pieces alone. */
  #run = { byte: 0, length: 0 };
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** @param chunk is kept, and not to be written to again */
  add(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#length += chunk.length;
    const byte = chunk[0] ?? 0;
    const isRun = chunk.length > 0 && isAll(chunk, byte);
    if (!isRun || (this.#run.length > 0 && this.#run.byte !== byte)) this.#keepRun();
    if (isRun) this.#run = { byte, length: this.#run.length + chunk.length };
    else this.#chunks.push(chunk);
  }

  end(): { readonly content: Content; readonly sha256: string } {
    const { byte, length } = this.#run;
    if (length < TAIL_BYTES_MIN) this.#keepRun();
    const data = this.#chunks.length === 1 && this.#chunks[0] ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const content = length < TAIL_BYTES_MIN ? { data } : { data, tail: { byte, length } };
    return { content, sha256: this.#hash.digest('hex') };
  }

  /** It is followed by something else: bytes like others. */
  #keepRun(): void {
    const { byte, length } = this.#run;
    for (const chunk of contentChunks({ data: new Uint8Array(0), tail: { byte, length } })) {
      this.#chunks.push(chunk);
    }
    this.#run = { byte: 0, length: 0 };
  }
}

function isAll(chunk: Uint8Array, byte: number): boolean {
  for (let at = 0; at < chunk.length; at += CHUNK_BYTES) {
    const part = chunk.subarray(at, at + CHUNK_BYTES);
    if (Buffer.compare(part, fillOf(byte).subarray(0, part.length)) !== 0) return false;
  }
  return true;
}
