/**
 * tpm-state: what a TPM's state file holds, in as many versions as a measurement wants, and how swtpm writes it.
 *
 * Each is the state of a real TPM, with a number in its last bytes; a larger one carries random bytes, as keys would, inside its frame.
 */
import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readStateBlob } from '../../test/fixtures/state-blobs.js';

export const PERMALL = 'tpm2-00.permall';
const TEMPORARY = 'TMP2-00.permall';
/** Of the blob's header, and of the one TLV in it. */
const TOTAL_LENGTH_AT = 6;
const DATA_LENGTH_AT = 12;
/** Before the end: a place in front of the last magic. */
const FILLER_FROM_END = 32;

const USED = Buffer.from(readStateBlob('used.permall').data);
/** What swtpm_setup and a little use leave. */
export const USUAL_BYTES = USED.length;
/** About the most that a TPM full of keys has. */
export const FULL_BYTES = 70_000;

export class TpmState {
  readonly #data: Buffer;
  #number = 0;

  constructor(bytes = USUAL_BYTES) {
    const filler = randomBytes(Math.max(0, bytes - USED.length));
    const at = USED.length - FILLER_FROM_END;
    this.#data = Buffer.concat([USED.subarray(0, at), filler, USED.subarray(at)]);
    this.#data.writeUInt32BE(this.#data.length, TOTAL_LENGTH_AT);
    this.#data.writeUInt32BE(USED.readUInt32BE(DATA_LENGTH_AT) + filler.length, DATA_LENGTH_AT);
  }

  /** A version unlike all before it. */
  next(): Buffer {
    this.#number += 1;
    this.#data.writeUInt32BE(this.#number, this.#data.length - FILLER_FROM_END);
    return Buffer.from(this.#data);
  }
}

export async function writeFirst(directory: string, data: Uint8Array): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, PERMALL), data);
}

/** As swtpm does: aside, then renamed, never synced. @returns when the rename was asked for, ms of `performance.now` */
export async function writeAsSwtpm(directory: string, data: Uint8Array): Promise<number> {
  const temporary = join(directory, TEMPORARY);
  await writeFile(temporary, data);
  const renamedMs = performance.now();
  renameSync(temporary, join(directory, PERMALL));
  return renamedMs;
}
