/**
 * tar-reader: the entries of a tar archive in memory, one after the other, whoever made it.
 *
 * The one reader of every decoder: ustar and GNU headers, with pax and GNU long names applied. It is
 * a plain loop over bytes. A streaming parser can wait for ever for content that never comes (of a
 * directory that has a size, say), and then nobody learns that it waits.
 *
 * I1 It ends: every step moves forward by a block at least, and nothing is awaited.
 * I2 It copies nothing: an entry's content is a view of the archive, within its bounds.
 * Not done: sparse files, multi-volume archives, whatever changes content. Such an entry has no kind.
 */

const BLOCK_BYTES = 512;
/** Of one extended header: names and numbers. */
const EXTENSION_BYTES_MAX = 64 * 1024;
const SIGNED = 0x80;

/** What is wrong with the archive's structure; never a piece of its content. */
export class TarError extends Error {
  override readonly name = 'TarError';
}

export type TarKind =
  | 'file'
  | 'link'
  | 'symlink'
  | 'character-device'
  | 'block-device'
  | 'directory'
  | 'fifo'
  | 'contiguous-file';

export interface TarEntry {
  /** Where its own header begins: past extended headers, and past blocks of zeros. */
  readonly offset: number;
  readonly name: string;
  /** `undefined` for one that is not known here, such as a sparse file. */
  readonly kind: TarKind | undefined;
  /** Bytes; `undefined` for what is no number. */
  readonly size: number | undefined;
  /** Seconds since 1970; 0 for what is no number. */
  readonly mtimeSeconds: number;
  /** @throws TarError when the archive ends before it does */
  readonly content: () => Uint8Array;
}

const KINDS: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'contiguous-file',
};

const PAX = 'x';
const PAX_GLOBAL = 'g';
const LONG_NAME = 'L';
const LONG_LINK = 'K';
const EXTENSIONS: ReadonlySet<string> = new Set([PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK]);

/** What extended headers say of the entry after them. */
interface Extension {
  readonly name?: string;
  readonly size?: number | undefined;
  readonly mtimeSeconds?: number;
  /** It changes what the entry is in a way that is not known here. */
  readonly isUnclear?: boolean;
}

/**
 * Whatever follows a block of zeros is read on, as an entry with a gap before it.
 *
 * @throws TarError
 */
export function* tarEntries(archive: Uint8Array): Generator<TarEntry> {
  let extension: Extension = {};
  for (let at = 0; at < archive.length;) {
    const header = readHeader(archive, at);
    if (!header) {
      at += BLOCK_BYTES;
      continue;
    }
    const size = 'size' in extension ? extension.size : header.size;
    const begin = at + BLOCK_BYTES;
    const content = (): Uint8Array => contentAt(archive, begin, size);
    if (EXTENSIONS.has(header.flag)) {
      extension = { ...extension, ...readExtension(header.flag, contentAt(archive, begin, header.size)) };
      at = begin + paddedSize(header.size);
      continue;
    }
    const { name, mtimeSeconds } = { ...header, ...extension };
    const kind = extension.isUnclear ? undefined : kindOf(header.flag, name);
    yield { offset: at, name, kind, size, mtimeSeconds, content };
    content();
    extension = {};
    at = begin + paddedSize(size);
    if (at > archive.length) throw new TarError('Unexpected end of data');
  }
}

interface Header {
  readonly flag: string;
  readonly name: string;
  readonly size: number | undefined;
  readonly mtimeSeconds: number;
}

/** @returns `undefined` for a block of zeros */
function readHeader(archive: Uint8Array, at: number): Header | undefined {
  const block = Buffer.from(
    archive.buffer,
    archive.byteOffset + at,
    Math.min(BLOCK_BYTES, archive.length - at),
  );
  if (block.length < BLOCK_BYTES) throw new TarError('Unexpected end of data');
  const sum = checksumOf(block);
  if (sum === 8 * 0x20) return undefined;
  if (sum !== numberIn(block.subarray(148, 156))) {
    throw new TarError('Invalid tar header: its checksum does not match');
  }
  const magic = block.toString('latin1', 257, 265);
  const isUstar = magic.startsWith('ustar\0');
  if (!isUstar && magic !== 'ustar  \0') throw new TarError('Invalid tar header: unknown format');
  const name = textIn(block.subarray(0, 100));
  const prefix = isUstar ? textIn(block.subarray(345, 500)) : '';
  return {
    flag: block.toString('latin1', 156, 157),
    name: prefix === '' ? name : `${prefix}/${name}`,
    size: numberIn(block.subarray(124, 136)),
    mtimeSeconds: numberIn(block.subarray(136, 148)) ?? 0,
  };
}

/** The sum of a header's bytes, those of the checksum itself taken for spaces. */
function checksumOf(block: Uint8Array): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK_BYTES; at++) {
    if (at < 148 || at >= 156) sum += block[at] ?? 0;
  }
  return sum;
}

function kindOf(flag: string, name: string): TarKind | undefined {
  if (!Object.hasOwn(KINDS, flag)) return undefined;
  const kind = KINDS[flag];
  // Before ustar, a directory was told by its name alone.
  return kind === 'file' && name.endsWith('/') ? 'directory' : kind;
}

/** Octal digits, or, with the first bit set, a number of base 256; `undefined` for anything else. */
function numberIn(field: Uint8Array): number | undefined {
  const [first = 0, ...rest] = field;
  if (first >= SIGNED) {
    if (first !== SIGNED) return undefined;
    const value = rest.reduce((sum, byte) => sum * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const text = textIn(field).trim();
  return /^[0-7]*$/.test(text) ? Number.parseInt(`0${text}`, 8) : undefined;
}

function textIn(field: Uint8Array): string {
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString('utf8');
}

function contentAt(archive: Uint8Array, begin: number, size: number | undefined): Uint8Array {
  if (size === undefined) throw new TarError('an entry has no readable size');
  if (begin + size > archive.length) throw new TarError('Unexpected end of data');
  return archive.subarray(begin, begin + size);
}

function paddedSize(size = 0): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

function readExtension(flag: string, content: Uint8Array): Extension {
  if (content.length > EXTENSION_BYTES_MAX) throw new TarError('an extended header is too long');
  if (flag === LONG_NAME) return { name: textIn(content) };
  // What a global header says of all entries is believed of none.
  return flag === PAX ? readPax(content) : {};
}

/** Records `LENGTH KEY=VALUE\n`, LENGTH being that of the whole record in bytes. What is none says nothing that could be relied on. */
function readPax(content: Uint8Array): Extension {
  let extension: Extension = {};
  for (let at = 0; at < content.length;) {
    const digits = /^\d{1,6} /.exec(Buffer.from(content.subarray(at, at + 7)).toString('latin1'))?.[0];
    const length = Number(digits);
    const record = Buffer.from(content.subarray(at, at + length)).toString('utf8');
    const isWhole = at + length <= content.length && record.endsWith('\n');
    if (digits === undefined || length <= digits.length || !isWhole) {
      return { isUnclear: true };
    }
    const [key = '', ...values] = record.slice(digits.length, -1).split('=');
    extension = { ...extension, ...paxField(key, values.join('=')) };
    at += length;
  }
  return extension;
}

function paxField(key: string, value: string): Extension {
  if (key.startsWith('GNU.sparse.')) return { isUnclear: true };
  switch (key) {
    case 'path':
      return { name: value };
    case 'size':
      return { size: /^\d{1,15}$/.test(value) ? Number(value) : undefined };
    case 'mtime':
      return { mtimeSeconds: /^\d{1,12}(\.\d*)?$/.test(value) ? Math.floor(Number(value)) : 0 };
    default:
      return {};
  }
}
