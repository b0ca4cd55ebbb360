/**
 * tpm2-payload: the outer frame of what libtpms writes for a TPM 2's persistent state (its PERSISTENT_ALL).
 *
 *   u16 version · u32 magic · u16 min_version (from version 2) · … · u32 the same magic
 *
 * A version newer than the ones known here is no reason to refuse: libtpms keeps this frame, and refusing would make good state of an
 * upgraded host lose to an older generation.
 */
import type { StateBytes } from './state-bytes.js';

export interface Tpm2Payload {
  /** 3; 4 when libtpms 0.10 or newer wrote it with a profile. */
  readonly payloadVersion: number;
  /** The oldest payload version whose readers can read it. */
  readonly minVersion: number;
}

const MAGIC = 0xab364723;
const MAGIC_BYTES = 4;
const VERSION_BYTES = 2;

/**
 * @throws MirrorError `STATE_INVALID` when the payload does not begin and end as libtpms writes it
 */
export function checkTpm2Payload(payload: StateBytes): Tpm2Payload {
  const payloadVersion = payload.uint16(payload.start, 'payload version');
  if (payloadVersion < 1) {
    payload.reject(`payload version ${payloadVersion} at byte ${payload.start}, expected at least 1`);
  }
  expectMagic(payload, payload.start + VERSION_BYTES, 'first magic');
  const minVersionAt = payload.start + VERSION_BYTES + MAGIC_BYTES;
  const minVersion = payloadVersion < 2 ? 1 : payload.uint16(minVersionAt, 'payload minimum version');
  if (minVersion < 1 || minVersion > payloadVersion) {
    payload.reject(
      `payload minimum version ${minVersion} at byte ${minVersionAt}, expected 1 to the version, ${payloadVersion}`,
    );
  }
  const lastMagicAt = payload.end - MAGIC_BYTES;
  if (lastMagicAt < minVersionAt + VERSION_BYTES) {
    payload.reject(`a payload of ${payload.length} bytes at byte ${payload.start}, too short for two magics`);
  }
  expectMagic(payload, lastMagicAt, 'last magic');
  return { payloadVersion, minVersion };
}

function expectMagic(payload: StateBytes, at: number, what: string): void {
  if (payload.uint32(at, what) !== MAGIC) {
    payload.reject(`${what} at byte ${at} is not 0x${MAGIC.toString(16)}`);
  }
}
