/**
 * swtpm-blob: whether a file is a whole state file of swtpm, and what can be told from it without a key.
 *
 *   header    u8 version 2 · u8 min_version 1 · u16 header size 10 · u16 flags · u32 total length = the file's size
 *   entries   u16 tag · u32 length · data, back to back up to the end of the file
 *   plain     flags 0:               one `data` entry, a payload of libtpms
 *   encrypted flags 0x01 (or 0x09): `encrypted data`, `HMAC` and `IV`, made with a key of 128 (256) bits
 *
 * All numbers are big-endian. swtpm 0.1 and later write this format. A file of another one cannot be
 * called whole; but swtpm may read it (it does, where `min_version` allows that), so it is not called
 * broken either (`not-understood`).
 *
 * I1 A file that was cut, extended or zeroed anywhere before its last entry is rejected: the total length, the entry lengths and the
 *    file's size must agree exactly.
 * I3 `torn` is said only of a file that swtpm itself would find too short, and `zeroed` only
 *    of one whose end cannot be what any writer of its format wrote.
 * I2 No byte of a payload reaches a message.
 * Not guaranteed: that the middle of an encrypted payload, or of a TPM 2 payload, was not altered (`selfValidating`).
 */
import { isStateFileName, type TpmDirectoryName } from './capture.js';
import { endorsementIdentity } from './endorsement-identity.js';
import { quoted } from './identifiers.js';
import { StateBytes } from './state-bytes.js';
import { checkTpm12Payload } from './tpm12-payload.js';
import { checkTpm2Payload, type Tpm2Payload } from './tpm2-payload.js';

export interface BlobInfo {
  /** `key`: made with swtpm's `--key`, so that nothing can be said about the payload. */
  readonly encryption: 'none' | 'key';
  /**
   * Whether the payload itself shows that it is whole: magic at both ends (TPM 2), a digest over all of it (TPM 1.2). Otherwise a reader
   * takes two equal readings apart in time.
   */
  readonly selfValidating: boolean;
  /** See `endorsementIdentity`; absent when encrypted, for a TPM 1.2 and for an unknown layout. */
  readonly identity?: string;
  /** The format versions of a plain TPM 2 payload. */
  readonly libtpms?: Tpm2Payload;
}

const VERSION = 2;
const MIN_VERSION = 1;
const HEADER_BYTES = 10;
const ENTRY_HEADER_BYTES = 6;

const FLAG_ENCRYPTED = 0x01;
const FLAGS_MIGRATION = 0x02 | 0x04 | 0x10;
const FLAG_256_BIT_KEY = 0x08;

const TAG_DATA = 1;
const TAG_ENCRYPTED_DATA = 2;
const TAG_HMAC = 3;
const TAG_IV = 6;
/** The last tag that is known: the IV of migration data. */
const TAG_LAST = 7;
const TAG_NAMES: ReadonlyMap<number, string> = new Map([
  [TAG_DATA, 'data'],
  [TAG_ENCRYPTED_DATA, 'encrypted data'],
  [TAG_HMAC, 'HMAC'],
  [TAG_IV, 'IV'],
]);
const HMAC_BYTES = 32;
/** So many zeros at the end are no chance: a digest or an IV ends so once in 2^128. */
const ZERO_TAIL_BYTES = 16;

/** First bytes of the linear file backend: the little-endian number that spells `swtpmlin`. */
const LINEAR_MAGIC = [0x6e, 0x69, 0x6c, 0x6d, 0x70, 0x74, 0x77, 0x73];

const UPGRADE =
  'if a newer swtpm wrote it, upgrade swtpm-mirror on this host to a version that knows this format; ' +
  'otherwise see who put it there';

/**
 * @param name base name of the file, one of `STATE_FILE_NAMES`
 * @throws MirrorError a `StateFault`
 */
export function validateStateFile(role: TpmDirectoryName, name: string, data: Uint8Array): BlobInfo {
  const file = new StateBytes(isStateFileName(role, name) ? name : quoted(name), data);
  if (!isStateFileName(role, name)) file.reject(`not a state file of role ${role}`);
  rejectForeign(file, data);
  const flags = checkHeader(file);
  rejectZeroed(file);
  const entries = readEntries(file);
  if (flags === 0) return checkPlain(role, name, only(entries, [TAG_DATA], file));
  checkEncrypted(file, entries, (flags & FLAG_256_BIT_KEY) === 0 ? 16 : 32);
  return { encryption: 'key', selfValidating: false };
}

function rejectForeign(file: StateBytes, data: Uint8Array): void {
  if (data.length === 0) {
    file.reject(
      'the file is empty; a power loss of the host can leave it so, and swtpm does not start with it',
      'torn',
    );
  }
  if (file.isZero) file.reject(`all of its ${data.length} bytes are zero`, 'zeroed');
  if (LINEAR_MAGIC.every((byte, at) => data[at] === byte)) {
    file.reject(
      "the file is a store of swtpm's linear file backend, which this version of swtpm-mirror does not read",
      'not-understood',
      'run swtpm with `--tpmstate dir=…`, as libvirt does by default',
    );
  }
}

/** Every payload ends in what is hardly ever zero: a magic, a digest, an IV. */
function rejectZeroed(file: StateBytes): void {
  const end = file.part(Math.max(HEADER_BYTES, file.end - ZERO_TAIL_BYTES), file.end);
  if (end.length === ZERO_TAIL_BYTES && end.isZero) {
    file.reject(`its last ${ZERO_TAIL_BYTES} bytes, at least, are zero`, 'zeroed');
  }
}

/** Checks the header and returns the flags. */
function checkHeader(file: StateBytes): number {
  if (file.length < HEADER_BYTES) {
    const cut = `the file has ${file.length} bytes, and its header alone would have ${HEADER_BYTES}`;
    file.reject(cut, 'torn');
  }
  const version = file.uint8(0, 'header version');
  const minVersion = file.uint8(1, 'header minimum version');
  const headerBytes = file.uint16(2, 'header size');
  const flags = file.uint16(4, 'header flags');
  const totalBytes = file.uint32(6, 'total length');
  const sized = `total length ${totalBytes} at byte 6, expected the file's size ${file.length}`;
  // Whatever its version, this is where a swtpm that reads it finds its length.
  const hasKnownStart =
    version > 0 && minVersion > 0 && minVersion <= VERSION && headerBytes === HEADER_BYTES;
  if (hasKnownStart && totalBytes > file.length) file.reject(sized, 'torn');
  if (version !== VERSION) foreign(file, `header version ${version} at byte 0, expected ${VERSION}`);
  if (minVersion !== MIN_VERSION) {
    foreign(file, `header minimum version ${minVersion} at byte 1, expected ${MIN_VERSION}`);
  }
  if (headerBytes !== HEADER_BYTES) {
    foreign(file, `header size ${headerBytes} at byte 2, expected ${HEADER_BYTES}`);
  }
  if (totalBytes !== file.length) {
    // Zeros that begin in the length itself.
    rejectZeroed(file);
    file.reject(sized);
  }
  checkFlags(file, flags);
  return flags;
}

function foreign(file: StateBytes, problem: string): never {
  file.reject(`${problem} by this version of swtpm-mirror`, 'not-understood', UPGRADE);
}

function checkFlags(file: StateBytes, flags: number): void {
  const shown = `flags 0x${flags.toString(16).padStart(4, '0')} at byte 4`;
  if ((flags & ~(FLAG_ENCRYPTED | FLAGS_MIGRATION | FLAG_256_BIT_KEY)) !== 0) {
    foreign(file, `${shown} are not known, expected those of a state file`);
  }
  if ((flags & FLAGS_MIGRATION) !== 0) {
    file.reject(`${shown} are those of a migration stream, which swtpm does not read from a state file`);
  }
  if (flags === FLAG_256_BIT_KEY) file.reject(`${shown} name a key but not encryption`);
}

function readEntries(file: StateBytes): ReadonlyMap<number, StateBytes> {
  const entries = new Map<number, StateBytes>();
  for (let at = HEADER_BYTES; at < file.end;) {
    const tag = file.uint16(at, 'entry tag');
    const length = file.uint32(at + 2, 'entry length');
    const start = at + ENTRY_HEADER_BYTES;
    if (length > file.end - start) {
      file.reject(`entry length ${length} at byte ${at + 2}, expected at most ${file.end - start}`);
    }
    if (entries.has(tag)) file.reject(`a second entry with tag ${tag} at byte ${at}, expected one`);
    entries.set(tag, file.part(start, start + length));
    at = start + length;
  }
  return entries;
}

/** The first of the entries, after a check that the file has these and no others. */
function only(
  entries: ReadonlyMap<number, StateBytes>,
  tags: readonly [number, ...number[]],
  file: StateBytes,
): StateBytes {
  const strange = [...entries.keys()].filter((tag) => !tags.includes(tag));
  for (const tag of strange) {
    const problem = `an entry with tag ${tag}, expected ${tags.map(tagName).join(', ')} alone`;
    if (tag > TAG_LAST || tag === 0) foreign(file, problem);
    file.reject(problem);
  }
  for (const tag of tags) entry(entries, tag, file);
  return entry(entries, tags[0], file);
}

function entry(entries: ReadonlyMap<number, StateBytes>, tag: number, file: StateBytes): StateBytes {
  return entries.get(tag) ?? file.reject(`no entry ${tagName(tag)}`);
}

function tagName(tag: number): string {
  return `${TAG_NAMES.get(tag) ?? 'unknown'} (tag ${tag})`;
}

function checkPlain(role: TpmDirectoryName, name: string, payload: StateBytes): BlobInfo {
  if (role === 'tpm1.2') {
    checkTpm12Payload(payload, name.endsWith('.permall'));
    return { encryption: 'none', selfValidating: true };
  }
  // libtpms 0.6 to 0.10 has no save state for a TPM 2, so there is no payload format to hold such a file to.
  if (!name.endsWith('.permall')) return { encryption: 'none', selfValidating: false };
  const libtpms = checkTpm2Payload(payload);
  const identity = endorsementIdentity(payload.bytes());
  const info = { encryption: 'none', selfValidating: true, libtpms } as const;
  return identity === undefined ? info : { ...info, identity };
}

/** swtpm pads the payload to, and makes the IV of, the key's size. */
function checkEncrypted(file: StateBytes, entries: ReadonlyMap<number, StateBytes>, keyBytes: number): void {
  const data = only(entries, [TAG_ENCRYPTED_DATA, TAG_HMAC, TAG_IV], file);
  if (data.length === 0 || data.length % keyBytes !== 0) {
    file.reject(
      `${data.length} bytes of encrypted data at byte ${data.start}, expected a multiple of ${keyBytes}`,
    );
  }
  const hmac = entry(entries, TAG_HMAC, file);
  if (hmac.length !== HMAC_BYTES) {
    file.reject(`an HMAC of ${hmac.length} bytes at byte ${hmac.start}, expected ${HMAC_BYTES}`);
  }
  const iv = entry(entries, TAG_IV, file);
  if (iv.length !== keyBytes) {
    file.reject(`an IV of ${iv.length} bytes at byte ${iv.start}, expected ${keyBytes}`);
  }
}
