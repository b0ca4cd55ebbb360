/**
 * tpm2-payload: the outer frame of what libtpms writes for a TPM 2's persistent state (its PERSISTENT_ALL).
 *
 *   u16 version · u32 magic · u16 min_version (from version 2) · … · u32 the same magic
 *
 * A version newer than the ones known here is no reason to refuse: libtpms keeps this frame, so that the
 * file is known to be whole. Whether a host's libtpms can read it is another question (`tpm-format`).
 *
 * From version 4 the profile follows `min_version`: u16 length, JSON, NUL.
 */
import type { StateBytes } from './state-bytes.js';

export interface Tpm2Payload {
  /** 3; 4 when libtpms 0.10 or newer wrote it with a profile. */
  readonly payloadVersion: number;
  /** The oldest payload version whose readers can read it. */
  readonly minVersion: number;
  /** From version 4: what the TPM can do, and the level of its format, as libtpms wrote it. */
  readonly profile?: TpmProfile;
}

export interface TpmProfile {
  readonly name: string;
  /** libtpms reads the levels up to its own. */
  readonly stateFormatLevel?: number;
}

const MAGIC = 0xab364723;
const MAGIC_BYTES = 4;
const VERSION_BYTES = 2;
const PROFILE_FROM_VERSION = 4;
const PROFILE_NAME = /^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$/;
const LEVEL_MAX = 0xffff;

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
  expectLastMagic(payload, lastMagicAt);
  const profile =
    payloadVersion < PROFILE_FROM_VERSION
      ? undefined
      : readProfile(payload.part(minVersionAt + VERSION_BYTES, lastMagicAt));
  return { payloadVersion, minVersion, ...(profile && { profile }) };
}

function expectMagic(payload: StateBytes, at: number, what: string): void {
  if (payload.uint32(at, what) !== MAGIC) {
    payload.reject(`${what} at byte ${at} is not 0x${MAGIC.toString(16)}`);
  }
}

function expectLastMagic(payload: StateBytes, at: number): void {
  // The magic's last byte is not zero, so where there is a zero no writer came to the end.
  const isZeroed = payload.uint8(payload.end - 1, 'last magic') === 0;
  if (isZeroed) payload.reject(`last magic at byte ${at} ends in zeros`, 'zeroed');
  expectMagic(payload, at, 'last magic');
}

/** `undefined` for a profile that is not as expected: it says nothing then. */
function readProfile(rest: StateBytes): TpmProfile | undefined {
  if (rest.length < 2) return undefined;
  const length = rest.uint16(rest.start, 'profile length');
  if (length < 2 || length > rest.length - 2) return undefined;
  const text = Buffer.from(rest.bytes(rest.start + 2, rest.start + 2 + length - 1)).toString('latin1');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { Name: name, StateFormatLevel: level } = value as Record<string, unknown>;
  if (typeof name !== 'string' || !PROFILE_NAME.test(name)) return undefined;
  const isLevel = Number.isSafeInteger(level) && Number(level) > 0 && Number(level) <= LEVEL_MAX;
  return { name, ...(isLevel && { stateFormatLevel: Number(level) }) };
}
