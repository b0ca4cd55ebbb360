/**
 * endorsement-identity: which TPM a state is of, told by a hash of its endorsement primary seed. The seed is made when the TPM is made,
 * survives restarts, NV writes and TPM2_Clear, and only TPM2_ChangeEPS replaces it (then it is another TPM, to its users too).
 *
 * The seed stands at no fixed place, so libtpms' marshalling is walked up to it:
 *
 *   PERSISTENT_ALL      u16 version 2–4 · u32 magic · u16 min_version · from version 4: u16 length, profile (JSON, NUL)
 *   compile constants   u16 version 2–3 · u32 magic · u16 min_version · u32 count · count × u32 · empty block
 *   PERSISTENT_DATA     u16 version 2–5 · u32 magic · u16 min_version · u8 disableClear · 3 × u16 algorithm
 *                       · 3 × policy, 3 × authorisation: u16 length ≤ 64, bytes
 *                       · 3 × seed (endorsement first), 3 × proof: u16 length 64, bytes
 *                       · u64, u32 counters · u8 1, u16 length of the block · PCR policies: u16 version 1–2, u32 magic · …
 *
 * I1 An identity is never wrong: every number on the way, and the frame behind the seed, must be exactly as written above. Any surprise
 *    gives no identity; then states are compared by their journal and digests alone.
 * I2 The seed never leaves this file: what leaves is a SHA-256 over it under a prefix of its own.
 */
import { sha256 } from './hash.js';

const DOMAIN = new TextEncoder().encode('swtpm-mirror endorsement seed\n');

const PERSISTENT_ALL_MAGIC = 0xab364723;
const COMPILE_CONSTANTS_MAGIC = 0xc9ea6431;
const PERSISTENT_DATA_MAGIC = 0x12213443;
const PCR_POLICY_MAGIC = 0x176be626;

/** How many constants each version of the compile constants has. */
const COMPILE_CONSTANTS: ReadonlyMap<number, number> = new Map([
  [2, 88],
  [3, 120],
]);
const PROFILE_FROM_VERSION = 4;
const DIGEST_BYTES_MAX = 64;
const SEED_BYTES = 64;
const OPENING_BRACE = 0x7b;

/**
 * @param payload a plain TPM 2 payload
 * @returns 64 hexadecimal digits, the same for a TPM's whole life; `undefined` for a layout that is not known exactly
 */
export function endorsementIdentity(payload: Uint8Array): string | undefined {
  try {
    const seed = walkToSeed(new Walk(payload));
    const input = new Uint8Array(DOMAIN.length + seed.length);
    input.set(DOMAIN);
    input.set(seed, DOMAIN.length);
    return sha256(input);
  } catch (error) {
    if (error instanceof UnknownLayout) return undefined;
    throw error;
  }
}

function walkToSeed(walk: Walk): Uint8Array {
  if (walk.header(PERSISTENT_ALL_MAGIC, 2, 4) >= PROFILE_FROM_VERSION) skipProfile(walk);
  skipCompileConstants(walk);
  walk.header(PERSISTENT_DATA_MAGIC, 2, 5);
  walk.boolean();
  walk.take(3 * 2);
  for (let value = 0; value < 6; value += 1) walk.expect(walk.take(walk.uint16()).length <= DIGEST_BYTES_MAX);
  const seed = takeSeed(walk);
  for (let value = 0; value < 5; value += 1) takeSeed(walk);
  walk.take(8 + 4);
  walk.expect(walk.boolean());
  walk.expect(walk.uint16() > 0);
  walk.header(PCR_POLICY_MAGIC, 1, 2);
  return seed;
}

function skipProfile(walk: Walk): void {
  const profile = walk.take(walk.uint16());
  walk.expect(profile[0] === OPENING_BRACE && profile.indexOf(0) === profile.length - 1);
}

function skipCompileConstants(walk: Walk): void {
  const version = walk.header(COMPILE_CONSTANTS_MAGIC, 2, 3);
  const count = walk.uint32();
  walk.expect(count === COMPILE_CONSTANTS.get(version));
  walk.take(count * 4);
  walk.expect(walk.boolean());
  walk.expect(walk.uint16() === 0);
}

/** A seed or a proof: random bytes, so one that is all zero was never made. */
function takeSeed(walk: Walk): Uint8Array {
  walk.expect(walk.uint16() === SEED_BYTES);
  const seed = walk.take(SEED_BYTES);
  walk.expect(seed.some((byte) => byte !== 0));
  return seed;
}

class UnknownLayout extends Error {}

/** Reads forward through a payload; whatever is not as expected ends the walk. */
class Walk {
  readonly #payload: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(payload: Uint8Array) {
    this.#payload = payload;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  }

  expect(condition: boolean): void {
    if (!condition) throw new UnknownLayout();
  }

  take(length: number): Uint8Array {
    this.expect(length <= this.#payload.length - this.#at);
    this.#at += length;
    return this.#payload.subarray(this.#at - length, this.#at);
  }

  boolean(): boolean {
    const [byte] = this.take(1);
    this.expect(byte === 0 || byte === 1);
    return byte === 1;
  }

  uint16(): number {
    this.take(2);
    return this.#view.getUint16(this.#at - 2);
  }

  uint32(): number {
    this.take(4);
    return this.#view.getUint32(this.#at - 4);
  }

  /** A structure's header, of a version in the given range: returns the version. */
  header(magic: number, oldest: number, newest: number): number {
    const version = this.uint16();
    this.expect(version >= oldest && version <= newest);
    this.expect(this.uint32() === magic);
    if (version >= 2) this.expect(this.uint16() <= version);
    return version;
  }
}
