/**
 * archive: a capture and its manifest as one self-describing file, the form of every generation, spool entry and export.
 *
 * A bundle is an ordinary tar.gz: `manifest.json` first, then each state file as `<role>/<name>` with its mode. `tar xf` opens it. The
 * manifest is the one source of what a file is; the tar headers repeat mode and time for plain tar and are otherwise not believed.
 *
 * I1 What decodes is what was encoded: every file of the manifest once, with its size and SHA-256, and nothing else.
 * I2 Names in the archive never become paths: an entry is looked up in the manifest, which knows a fixed list of names.
 * I3 Memory is bounded before anything is unpacked or read, whoever made the archive.
 * I4 Equal input gives equal output (under one build of zlib): no time, owner or order but the manifest's.
 * I5 Nothing is encoded that would not decode.
 * I6 A bundle that stands by itself (an export, the spool) has every file of its manifest in it. In a volume, what is beside the
 *    TPM can lie in another generation, which the manifest names (`in`): what is decoded then has a reference in the place of its bytes.
 * Not checked: whether the files are valid TPM state and have the manifest's identity. The caller validates the capture.
 */
import { pack, type Header, type Pack } from 'tar-stream';
import {
  bytesMaxOf,
  compareStateFiles,
  NVRAM_BYTES_MAX,
  STATE_FILE_BYTES_MAX,
  type Capture,
  type StateFile,
} from '../model/capture.js';
import { contentBytes, contentChunks, withoutTail, type Content } from '../model/content.js';
import { invariant, MirrorError } from '../model/errors.js';
import { sha256 } from '../model/hash.js';
import { quoted } from '../model/identifiers.js';
import { damaged } from './damaged.js';
import { compress, compressChunks, decompress } from './gzip.js';
import {
  filePath,
  FILES_MAX,
  formatManifest,
  MANIFEST_BYTES_MAX,
  formatFor,
  MANIFEST_NAME,
  parseManifest,
  type Manifest,
  type ManifestFields,
  type ManifestFile,
} from './manifest.js';
import { tarEntries, TarError, type TarEntry } from './tar-reader.js';

const BLOCK_BYTES = 512;
/** A tar archive ends with at least two blocks of zeros. */
const END_BYTES = 2 * BLOCK_BYTES;
const ARCHIVE_OVERHEAD_BYTES_MAX = 256 * 1024;
const UNPACKED_BYTES_MAX =
  FILES_MAX * STATE_FILE_BYTES_MAX + NVRAM_BYTES_MAX + MANIFEST_BYTES_MAX + ARCHIVE_OVERHEAD_BYTES_MAX;
/** Largest bundle that is read, bytes: state that does not compress at all, and what gzip then adds. */
export const BUNDLE_BYTES_MAX = UNPACKED_BYTES_MAX + ARCHIVE_OVERHEAD_BYTES_MAX;

const REGULAR_FILE = 0o100000;
const MANIFEST_MODE = 0o600;
/** Last second that both tar-stream and every tar can write and read (2038). */
const TAR_SECONDS_MAX = 2 ** 31 - 1;

export interface Bundle {
  readonly manifest: Manifest;
  readonly capture: Capture;
}

export function describeCapture(capture: Capture, fields: ManifestFields): Manifest {
  const { slot, epoch, parent, host, bootId, time, reason, name, swtpm, libtpms } = fields;
  const files = [...capture.files].sort(compareStateFiles).map((file) => ({
    role: file.role,
    name: file.name,
    size: file.in?.bytes ?? contentBytes(file),
    mode: file.mode & 0o777,
    mtimeNs: file.mtimeNs.toString(),
    sha256: file.sha256,
    ...(file.owner && { owner: file.owner }),
    ...(file.stale !== undefined && { stale: file.stale }),
    ...(file.in && { in: file.in.generation }),
  }));
  const absent = capture.absent?.map(({ role, kind, reason }) => ({ role, kind, reason })) ?? [];
  return {
    format: formatFor(files),
    uuid: capture.uuid,
    name,
    slot,
    epoch,
    parent,
    host,
    bootId,
    time,
    reason,
    swtpm,
    libtpms,
    digest: capture.digest,
    identity: capture.identity ?? null,
    files,
    ...(absent.length > 0 && { absent }),
  };
}

/**
 * @throws MirrorError `INTERNAL` when `manifest` does not describe `capture`
 */
export async function encodeBundle(manifest: Manifest, capture: Capture): Promise<Uint8Array> {
  invariant(
    manifest.uuid === capture.uuid &&
      manifest.identity === (capture.identity ?? null) &&
      manifest.files.length === capture.files.length,
    'the manifest of a bundle describes its capture',
  );
  const seconds = Math.min(Math.max(0, Math.floor(Date.parse(manifest.time) / 1000)), TAR_SECONDS_MAX);
  const common = { uid: 0, gid: 0, mtime: new Date(seconds * 1000) };
  const archive = pack();
  // The file type bit keeps tar-stream from widening a mode of 0 to its default.
  archive.entry(
    { ...common, name: MANIFEST_NAME, mode: REGULAR_FILE | MANIFEST_MODE },
    Buffer.from(formatManifest(manifest)),
  );
  for (const described of manifest.files) {
    const name = filePath(described);
    const file = capture.files.find((candidate) => filePath(candidate) === name);
    invariant(file !== undefined && isEncodable(file, described), `${name} is what its manifest describes`);
    if (file.in) continue;
    const header = { ...common, name, mode: REGULAR_FILE | described.mode };
    if (file.tail) addLong(archive, header, file);
    else archive.entry(header, Buffer.from(file.data));
  }
  archive.finalize();
  const chunks = await chunksOf(archive);
  return capture.files.some(({ tail }) => tail) ? compressChunks(chunks) : compress(Buffer.concat(chunks));
}

/**
 * One that stands by itself.
 *
 * @throws MirrorError `GENERATION_DAMAGED` for anything but a whole bundle; `SHARE_VERSION` for one of a later format
 */
export async function decodeBundle(data: Uint8Array): Promise<Bundle> {
  const bundle = await decodeGeneration(data);
  refuseReferences(bundle);
  return bundle;
}

/** @throws MirrorError `GENERATION_DAMAGED` for one that needs another */
export function refuseReferences({ manifest }: Pick<Bundle, 'manifest'>): void {
  const file = manifest.files.find((candidate) => candidate.in !== undefined);
  if (!file) return;
  const { code, message } = damaged(
    `its ${file.role} is not in it, but in ${file.in ?? ''} of the volume that it was copied from`,
  );
  throw new MirrorError(code, message, {
    next: 'take it out of its volume with `swtpm-mirror export`, which puts all into one file',
  });
}

/** One of a volume. @throws MirrorError as `decodeBundle`, but not for what lies in another generation */
export async function decodeGeneration(data: Uint8Array): Promise<Bundle> {
  if (data.length > BUNDLE_BYTES_MAX) {
    throw damaged(`it has ${data.length} bytes, expected at most ${BUNDLE_BYTES_MAX}`);
  }
  const { manifest, contents } = readArchive(decompress(data, UNPACKED_BYTES_MAX));
  const files = manifest.files.map((described) => checkedFile(described, contents.get(filePath(described))));
  return {
    manifest,
    capture: {
      uuid: manifest.uuid,
      files: files.sort(compareStateFiles),
      digest: manifest.digest,
      identity: manifest.identity ?? undefined,
    },
  };
}

interface ArchiveContent {
  readonly manifest: Manifest;
  /** By path in the archive. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
}

function readArchive(archive: Uint8Array): ArchiveContent {
  const contents = new Map<string, Uint8Array>();
  let manifest: Manifest | undefined;
  let end = 0;
  try {
    for (const entry of tarEntries(archive)) {
      const size = checkPlace(entry, end);
      if (manifest === undefined) manifest = readManifest(entry);
      else contents.set(...readStateFile(entry, size, manifest, contents));
      end += BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
    }
  } catch (error) {
    if (!(error instanceof TarError)) throw error;
    throw damaged(`its tar structure is damaged (${error.message})`, error);
  }
  checkEnd(archive.subarray(end));
  if (manifest === undefined) throw damaged('it has no entries, expected a manifest');
  return { manifest, contents };
}

/**
 * Extended headers (pax, GNU) can change the name and size that an entry's own header gives; but
 * they move that header away from the end of the previous entry. A name that came that way may be a piece of state, and is not told.
 *
 * @returns the size of the entry's content
 */
function checkPlace({ offset, size, kind, ...entry }: TarEntry, end: number): number {
  if (offset !== end) {
    throw damaged(
      `an extended header or a gap follows byte ${end} of its tar archive, expected plain entries only`,
    );
  }
  const name = quoted(entry.name);
  if (kind !== 'file') {
    throw damaged(`its entry ${name} is a ${kind ?? 'special file'}, expected a plain file`);
  }
  if (size === undefined) throw damaged(`its entry ${name} has no readable size`);
  return size;
}

function readManifest({ name, content }: TarEntry): Manifest {
  if (name !== MANIFEST_NAME) throw damaged(`its first entry is ${quoted(name)}, expected ${MANIFEST_NAME}`);
  return parseManifest(content());
}

function readStateFile(
  { name, content }: TarEntry,
  size: number,
  manifest: Manifest,
  earlier: ReadonlyMap<string, Uint8Array>,
): [string, Uint8Array] {
  if (name === MANIFEST_NAME) throw damaged('it has a second manifest, expected one');
  const described = manifest.files.find((file) => filePath(file) === name);
  if (!described) throw damaged(`its entry ${quoted(name)} is not in its manifest`);
  if (earlier.has(name)) throw damaged(`its entry ${name} occurs twice, expected once`);
  if (size !== described.size) throw damaged(`${name} has ${size} bytes, expected ${described.size}`);
  return [name, content()];
}

/** What follows the last entry: the end mark, and padding as tar writes it, all zeros. */
function checkEnd(tail: Uint8Array): void {
  if (tail.length < END_BYTES) {
    throw damaged(
      `its tar archive is truncated: ${tail.length} bytes after the last entry, expected ${END_BYTES}`,
    );
  }
  if (tail.some((byte) => byte !== 0)) throw damaged('other data follows the last entry of its tar archive');
}

function checkedFile(described: ManifestFile, data: Uint8Array | undefined): StateFile {
  const path = filePath(described);
  if (described.in !== undefined) {
    if (data) throw damaged(`${path} is in the archive, and in another one by its manifest`);
    return describedFile(described, {
      data: new Uint8Array(0),
      in: { generation: described.in, bytes: described.size },
    });
  }
  if (!data) throw damaged(`${path} is in its manifest and missing from the archive`);
  if (!isDescribed(data, described)) throw damaged(`${path} does not have the SHA-256 in its manifest`);
  return describedFile(
    described,
    bytesMaxOf(described.role) > STATE_FILE_BYTES_MAX ? withoutTail(data) : { data },
  );
}

/** What a manifest says of a file, with its content. */
function describedFile(
  { role, name, mode, mtimeNs, sha256: hash, owner, stale }: ManifestFile,
  content: Content & Pick<StateFile, 'in'>,
): StateFile {
  const known = { ...(owner && { owner }), ...(stale !== undefined && { stale }) };
  return { role, name, mode, mtimeNs: BigInt(mtimeNs), ...content, sha256: hash, ...known };
}

/** The hash of a long one was told by whoever read it: it is not made once more. */
function isEncodable(file: StateFile, described: ManifestFile): boolean {
  if (file.in) return described.in === file.in.generation && file.data.length === 0;
  if (file.tail) return contentBytes(file) === described.size && file.sha256 === described.sha256;
  return isDescribed(file.data, described);
}

function isDescribed(data: Uint8Array, described: ManifestFile): boolean {
  return data.length === described.size && sha256(data) === described.sha256;
}

async function chunksOf(stream: AsyncIterable<unknown>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) {
    invariant(chunk instanceof Uint8Array, 'an archive is a stream of bytes');
    chunks.push(chunk);
  }
  return chunks;
}

/** A file with a tail: its pieces are the very buffers that stand for it, so that they take no memory. */
function addLong(archive: Pack, header: Pick<Header, 'name'> & Partial<Header>, file: StateFile): void {
  const sink = archive.entry({ ...header, size: contentBytes(file) });
  for (const chunk of contentChunks(file)) sink.write(chunk);
  sink.end(undefined);
}
