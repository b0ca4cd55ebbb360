/**
 * age-header: what can be read of a sealed bundle without a key: the header of an age file (https://age-encryption.org/v1).
 *
 *   age-encryption.org/v1
 *   -> X25519 SHARE                   one stanza for each recipient, anonymous by design
 *   -> swtpm-mirror SET BYTES         this program's own: which set of recipients it was sealed for, and how long the bundle is
 *   --- MAC
 *   (nonce of 16 bytes, then chunks of 64 KiB, each with a tag of 16 bytes)
 *
 * Every age program passes over a stanza of a kind that it does not know. The MAC covers ours as it covers the others, so whoever opens the
 * file knows that it is as it was written; whoever cannot, believes it only as far as its structure goes.
 *
 * I1 A file that was cut short or grew is told without a key: its length follows from what the header says.
 * Not told without a key: a changed byte that leaves the structure as it is.
 */
import { damaged } from './damaged.js';

const VERSION_LINE = 'age-encryption.org/v1';
/** Far more than a hundred recipients need, those of post-quantum keys too. */
const HEADER_BYTES_MAX = 256 * 1024;
/** Each is tried with each key, and costs an elliptic curve. */
const STANZAS_MAX = 256;
const NONCE_BYTES = 16;
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const BODY_COLUMNS = 64;

const STANZA = /^-> ([!-~]+(?: [!-~]+)*)$/;
const BODY_LINE = /^[A-Za-z0-9+/]*$/;
const MAC_LINE = /^--- [A-Za-z0-9+/]{43}$/;
const NOTE_KIND = 'swtpm-mirror';
const NOTE = /^swtpm-mirror ([0-9a-f]{16}) (\d{1,12})$/;

export const RECIPIENT_SET_DIGITS = 16;

/** What this program writes into a header beside the keys. */
export interface SealNote {
  /** First digits of a hash of the recipients: equal for equal sets. */
  readonly recipientSet: string;
  /** Length of the bundle before it was sealed. */
  readonly plainBytes: number;
}

export interface SealedHeader {
  /** `undefined` in what another age program wrote. */
  readonly note: SealNote | undefined;
}

/** The words of our stanza. */
export function noteArguments({ recipientSet, plainBytes }: SealNote): string[] {
  return [NOTE_KIND, recipientSet, String(plainBytes)];
}

/** Whether it is an age file, whole or not. */
export function isSealed(data: Uint8Array): boolean {
  const line = Buffer.from(data.subarray(0, VERSION_LINE.length + 1)).toString('latin1');
  return line === `${VERSION_LINE}\n`;
}

/**
 * Checks all of an age file that shows without a key.
 *
 * @throws MirrorError `GENERATION_DAMAGED`
 */
export function readSealedHeader(data: Uint8Array): SealedHeader {
  const lines = headerLines(data);
  const notes: SealNote[] = [];
  let stanzas = 0;
  for (let at = 1; at < lines.texts.length; at++) {
    const words = STANZA.exec(lines.texts[at] ?? '')?.[1];
    if (words === undefined) throw damaged('a line of its age header is no stanza');
    if (++stanzas > STANZAS_MAX) throw damaged(`its age header has more than ${STANZAS_MAX} stanzas`);
    const [, recipientSet, bytes] = NOTE.exec(words) ?? [];
    if (recipientSet !== undefined) notes.push({ recipientSet, plainBytes: Number(bytes) });
    at = endOfBody(lines.texts, at + 1);
  }
  if (stanzas === 0) throw damaged('its age header names no recipient');
  const [note] = notes;
  checkPayload(data.length - lines.bytes, note?.plainBytes);
  return { note };
}

function headerLines(data: Uint8Array): { texts: string[]; bytes: number } {
  const text = Buffer.from(data.subarray(0, HEADER_BYTES_MAX)).toString('latin1');
  const macAt = text.indexOf('\n--- ');
  const end = macAt < 0 ? -1 : text.indexOf('\n', macAt + 1);
  if (end < 0) throw damaged('its age header does not end');
  if (!MAC_LINE.test(text.slice(macAt + 1, end))) throw damaged('its age header ends without a MAC');
  return { texts: text.slice(0, macAt).split('\n'), bytes: end + 1 };
}

/** A body ends with the first line that is not full. @returns its index */
function endOfBody(lines: readonly string[], first: number): number {
  for (let at = first; ; at++) {
    const line = lines[at];
    if (line === undefined || line.length > BODY_COLUMNS || !BODY_LINE.test(line)) {
      throw damaged('a stanza of its age header is not whole');
    }
    if (line.length < BODY_COLUMNS) return at;
  }
}

function checkPayload(bytes: number, plainBytes: number | undefined): void {
  if (plainBytes !== undefined) {
    const expected = NONCE_BYTES + plainBytes + Math.max(1, Math.ceil(plainBytes / CHUNK_BYTES)) * TAG_BYTES;
    if (bytes === expected) return;
    throw damaged(`it has ${bytes} bytes after its age header, expected ${expected}`);
  }
  const last = (bytes - NONCE_BYTES) % (CHUNK_BYTES + TAG_BYTES);
  if (bytes < NONCE_BYTES + TAG_BYTES || (last > 0 && last <= TAG_BYTES)) {
    throw damaged('it is truncated: its encrypted data ends too early');
  }
}
