/**
 * tpm12-payload: what libtpms writes for a TPM 1.2, permanent state (`permall`) and TPM_SaveState (`savestate`).
 *
 *   permall    u16 format tag 1 · u16 0x0022 (TPM_PERMANENT_DATA) · … · SHA-1 over everything before it
 *   savestate  … · SHA-1 over everything before it
 *
 * The digest makes this the one payload that shows its own wholeness to the last bit.
 */
import { sha1 } from './hash.js';
import type { StateBytes } from './state-bytes.js';

const DIGEST_BYTES = 20;
const FORMAT_TAG = 1;
const PERMANENT_DATA_TAG = 0x0022;

/**
 * @throws MirrorError `STATE_INVALID` when a tag or the digest is wrong
 */
export function checkTpm12Payload(payload: StateBytes, isPermanent: boolean): void {
  if (isPermanent) {
    expectTag(payload, payload.start, 'format tag', FORMAT_TAG);
    expectTag(payload, payload.start + 2, 'permanent data tag', PERMANENT_DATA_TAG);
  }
  const digestAt = payload.end - DIGEST_BYTES;
  if (digestAt <= payload.start) {
    payload.reject(`a payload of ${payload.length} bytes at byte ${payload.start}, too short for its digest`);
  }
  const computed = sha1(payload.bytes(payload.start, digestAt));
  const stored = payload.bytes(digestAt);
  if (!computed.every((byte, at) => byte === stored[at])) {
    payload.reject(
      `the SHA-1 digest at byte ${digestAt} is not that of the ${digestAt - payload.start} bytes before it`,
    );
  }
}

function expectTag(payload: StateBytes, at: number, what: string, expected: number): void {
  const tag = payload.uint16(at, what);
  if (tag !== expected) payload.reject(`${what} ${tag} at byte ${at}, expected ${expected}`);
}
