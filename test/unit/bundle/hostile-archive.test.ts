import fc from 'fast-check';
import t, { type Test } from 'tap';
import { gunzipSync, gzipSync } from 'node:zlib';
import { BUNDLE_BYTES_MAX, decodeBundle, encodeBundle } from '../../../src/bundle/archive.js';
import { contentDigest } from '../../../src/model/hash.js';
import {
  CAPTURE,
  contentOf,
  ENTRIES,
  fileEntry,
  MANIFEST,
  manifestEntry,
  NVRAM,
  PERMALL,
  refusal,
  stateBytes,
  stateFile,
  tarGzOf,
  tarOf,
  type ArchiveEntry,
} from './fixtures/bundles.js';

const PERMALL_PATH = 'tpm2/tpm2-00.permall';
const TAR = await tarOf(ENTRIES);
const BUNDLE = await encodeBundle(MANIFEST, CAPTURE);
const CONTENT = contentOf({ manifest: MANIFEST, capture: CAPTURE });

function refused(data: Uint8Array): Promise<string> {
  return refusal(() => decodeBundle(data));
}

/** The archive of a bundle with one more entry at its end. */
function plus(header: ArchiveEntry['header'], data: Uint8Array | string = ''): Promise<Buffer> {
  return tarGzOf([...ENTRIES, { header, data }]);
}

/** A tar archive with one header field changed and the header's checksum made good again. */
function withHeaderByte(tar: Buffer, header: number, at: number, value: number): Buffer {
  const copy = Buffer.from(tar);
  copy.writeUInt8(value, header + at);
  copy.fill(' ', header + 148, header + 156);
  const sum = copy.subarray(header, header + 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, header + 148);
  return copy;
}

/** An extended header as GNU tar or pax writes one: a block of its own type, then its content. */
async function extension(type: string, content: string): Promise<Buffer> {
  const tar = await tarOf([{ header: { name: 'extension' }, data: content }]);
  return withHeaderByte(tar.subarray(0, -1024), 0, 156, type.charCodeAt(0));
}

async function without(name: string): Promise<Buffer> {
  return tarGzOf(ENTRIES.filter((entry) => entry.header.name !== name));
}

/** `ENTRIES` with another content under the path of the permall. */
function withPermall(data: Uint8Array): Promise<Buffer> {
  return tarGzOf([manifestEntry(), fileEntry(NVRAM), { header: { name: PERMALL_PATH }, data }]);
}

async function refusedEach(
  t: Test,
  cases: readonly [name: string, data: Uint8Array, message: RegExp][],
): Promise<void> {
  for (const [name, data, message] of cases) {
    const said = await refused(data);
    t.match(said, /^GENERATION_DAMAGED: cannot read bundle: /, name);
    t.match(said, message, name);
  }
}

t.test('sizes are bounded before anything is unpacked or kept', async (t) => {
  await refusedEach(t, [
    ['a bundle of endless size', new Uint8Array(BUNDLE_BYTES_MAX + 1), /it has \d+ bytes, expected at most/],
    ['a bomb', gzipSync(Buffer.alloc(192 * 1024 * 1024)), /it unpacks to more than \d+ bytes/],
    [
      'a size that is no number',
      gzipSync(withHeaderByte(TAR, 0, 124, 0x81)),
      /"manifest.json" has no readable size/,
    ],
    [
      'a manifest of endless size',
      await tarGzOf([{ header: { name: 'manifest.json' }, data: ' '.repeat(65_537) }]),
      /its manifest has 65537 bytes, expected at most 65536/,
    ],
  ]);
});

t.test('the manifest comes first, and once', async (t) => {
  await refusedEach(t, [
    ['no entry', gzipSync(Buffer.alloc(1024)), /it has no entries, expected a manifest/],
    [
      'no manifest',
      await without('manifest.json'),
      /its first entry is "nvram\/nvram.fd", expected manifest.json/,
    ],
    ['not first', await tarGzOf([...ENTRIES].reverse()), /its first entry is "tpm2\/tpm2-00.permall"/],
    ['twice', await tarGzOf([...ENTRIES, manifestEntry()]), /it has a second manifest/],
    [
      'under ./',
      await tarGzOf([{ header: { name: './manifest.json' } }]),
      /its first entry is "\.\/manifest.json"/,
    ],
    ['invalid', await tarGzOf([manifestEntry({ ...MANIFEST, uuid: '..' })]), /uuid: expected a domain UUID/],
  ]);
});

t.test('a bundle of a later format is refused as such, whatever follows its manifest', async (t) => {
  const later = await tarGzOf([manifestEntry({ format: 3 }), { header: { name: 'state.bin' }, data: 'x' }]);
  t.match(await refused(later), /^SHARE_VERSION: .*format 3, this version reads up to 2$/);
});

t.test('no entry is read but those of the manifest, each once', async (t) => {
  const named = (name: string): Promise<Buffer> => plus({ name }, stateBytes(20, 'x'));
  await refusedEach(t, [
    [
      'traversal',
      await named('../../../etc/cron.d/x'),
      /entry "\.\.\/\.\.\/\.\.\/etc\/cron\.d\/x" is not in its/,
    ],
    [
      'traversal by a role',
      await named('tpm2/../../x'),
      /entry "tpm2\/\.\.\/\.\.\/x" is not in its manifest/,
    ],
    ['absolute', await named('/etc/passwd'), /entry "\/etc\/passwd" is not in its manifest/],
    [
      'not listed',
      await named('tpm2/tpm2-00.savestate'),
      /entry "tpm2\/tpm2-00.savestate" is not in its manifest/,
    ],
    [
      'control characters',
      await named('tpm2/\u001b[2J\n'),
      /entry "tpm2\/\\u001b\[2J\\n" is not in its manifest/,
    ],
    ['an empty name', withEmptyName(), /entry "" is not in its manifest/],
    ['twice', await tarGzOf([...ENTRIES, fileEntry(PERMALL)]), /entry tpm2\/tpm2-00.permall occurs twice/],
    ['missing', await without(PERMALL_PATH), /permall is in its manifest and missing from the archive/],
    ['a shorter file', await withPermall(PERMALL.data.subarray(1)), /permall has 1314 bytes, expected 1315/],
    [
      'a longer file',
      await withPermall(Buffer.concat([PERMALL.data, PERMALL.data])),
      /has 2630 bytes, expected 1315/,
    ],
    ['other content', await withPermall(stateBytes(1315, 'other')), /permall does not have the SHA-256/],
  ]);
  function withEmptyName(): Buffer {
    return gzipSync(withHeaderByte(TAR, permallHeader(), 0, 0));
  }
});

/** Where the header of the permall begins in `TAR`. */
function permallHeader(): number {
  return TAR.indexOf(`${PERMALL_PATH}\0`);
}

/** The same of the NVRAM, which stands before another entry. */
function nvramHeader(): number {
  return TAR.indexOf('nvram/nvram.fd\0');
}

t.test('files that swap their names are refused', async (t) => {
  const other = stateFile('tpm2', 'tpm2-00.savestate', stateBytes(1315, 'savestate'));
  const files = [PERMALL, other].map(({ role, name, mode, mtimeNs, data, sha256 }) => {
    return { role, name, mode, mtimeNs: String(mtimeNs), size: data.length, sha256 };
  });
  const manifest = manifestEntry({ ...MANIFEST, files, digest: contentDigest(files) });
  const swapped = [fileEntry(PERMALL, 'tpm2/tpm2-00.savestate'), fileEntry(other, PERMALL_PATH)];
  t.match(await refused(await tarGzOf([manifest, ...swapped])), /does not have the SHA-256 in its manifest/);
});

t.test('nothing but plain files is accepted, whatever their names', async (t) => {
  const name = PERMALL_PATH;
  const body = [manifestEntry(), fileEntry(NVRAM)];
  const typed = (header: ArchiveEntry['header']): Promise<Buffer> => tarGzOf([...body, { header }]);
  await refusedEach(t, [
    [
      'a symbolic link',
      await typed({ name, type: 'symlink', linkname: '/etc/shadow' }),
      /permall" is a symlink/,
    ],
    ['a hard link', await typed({ name, type: 'link', linkname: 'nvram/nvram.fd' }), /permall" is a link/],
    [
      'a character device',
      await typed({ name, type: 'character-device', devmajor: 1 }),
      /is a character-device/,
    ],
    ['a block device', await typed({ name, type: 'block-device', devmajor: 8 }), /is a block-device/],
    ['a FIFO', await typed({ name, type: 'fifo' }), /is a fifo/],
    ['a directory', await typed({ name, type: 'directory' }), /is a directory/],
    ['a directory of a role', await plus({ name: 'tpm2', type: 'directory' }), /entry "tpm2" is a directory/],
    ['a contiguous file', gzipSync(withHeaderByte(TAR, permallHeader(), 156, 0x37)), /is a contiguous-file/],
    [
      'a sparse file',
      gzipSync(withHeaderByte(TAR, permallHeader(), 156, 0x53)),
      /permall" is a special file/,
    ],
    [
      'a manifest that is a link',
      await tarGzOf([{ header: { name: 'manifest.json', type: 'link' } }]),
      /is a link/,
    ],
  ]);
});

t.test('extended headers, which change what the next header says, are refused', async (t) => {
  const at = permallHeader();
  const before = async (type: string, content: string, place = at): Promise<Buffer> =>
    gzipSync(Buffer.concat([TAR.subarray(0, place), await extension(type, content), TAR.subarray(place)]));
  const message = /an extended header or a gap follows byte \d+ of its tar archive/;
  await refusedEach(t, [
    ['a pax path', await before('x', '24 path=../../etc/passwd\n'), message],
    ['a pax path that is the right one', await before('x', `29 path=${PERMALL_PATH}\n`), message],
    ['a pax size', await before('x', '11 size=10\n'), message],
    ['a pax link target', await before('x', '24 linkpath=/etc/shadow\n'), message],
    ['a pax sparse map', await before('x', '22 GNU.sparse.major=1\n'), message],
    ['a global pax header', await before('g', '24 path=../../etc/passwd\n', 0), message],
    ['a GNU long name', await before('L', '../../etc/passwd\0'), message],
    ['a GNU long link target', await before('K', '/etc/shadow\0'), message],
    [
      'an early end',
      gzipSync(Buffer.concat([TAR.subarray(0, at), Buffer.alloc(1024), TAR.subarray(at)])),
      message,
    ],
    ['a state that poses as the next name', gzipSync(withHeaderByte(TAR, nvramHeader(), 156, 0x4c)), message],
    ['a long name by tar-stream', await plus({ name: 'x/'.repeat(200) }), message],
  ]);
});

t.test('the archive ends where its last entry ends', async (t) => {
  const end = TAR.length - 1024;
  await refusedEach(t, [
    ['no end mark', gzipSync(TAR.subarray(0, end)), /truncated: 0 bytes after the last entry, expected 1024/],
    ['half an end mark', gzipSync(TAR.subarray(0, end + 512)), /truncated: 512 bytes after the last entry/],
    [
      'an entry cut short',
      gzipSync(TAR.subarray(0, end - 600)),
      /tar structure is damaged \(Unexpected end of data\)/,
    ],
    ['a second archive', gzipSync(Buffer.concat([TAR, TAR])), message('a gap follows byte')],
    [
      'a late header',
      gzipSync(Buffer.concat([TAR, await extension('g', '9 path=x\n')])),
      message('other data'),
    ],
    ['not tar at all', gzipSync(stateBytes(4096, 'x')), /tar structure is damaged \(Invalid tar header/],
    ['text', gzipSync('text'), /tar structure is damaged \(Unexpected end of data\)/],
  ]);
  function message(part: string): RegExp {
    return new RegExp(part);
  }
});

t.test('G1: every truncation of a bundle, and of the tar archive within, is refused', async (t) => {
  for (let length = 0; length < BUNDLE.length; length += 1) {
    const said = await refused(BUNDLE.subarray(0, length));
    if (!said.startsWith('GENERATION_DAMAGED: ')) t.fail(`${length} of ${BUNDLE.length} bytes: ${said}`);
  }
  const tar = gunzipSync(BUNDLE);
  for (let length = 0; length < tar.length; length += 16) {
    const said = await refused(gzipSync(tar.subarray(0, length), { level: 1 }));
    if (!said.startsWith('GENERATION_DAMAGED: ')) t.fail(`${length} of ${tar.length} bytes of tar: ${said}`);
  }
});

/** Refused by a name, or read with the content that was written. */
async function refusedOrSame(data: Uint8Array): Promise<boolean> {
  let content: string[] = [];
  const said = await refusal(async () => (content = contentOf(await decodeBundle(data))));
  if (said === 'not refused') return content.join() === CONTENT.join();
  return /^(GENERATION_DAMAGED|SHARE_VERSION): /.test(said);
}

t.test('G1: every flipped bit is refused, or changes nothing', async (t) => {
  const copy = Buffer.from(BUNDLE);
  for (let bit = 0; bit < copy.length * 8; bit += 1) {
    const at = bit >> 3;
    const original = copy.readUInt8(at);
    copy.writeUInt8(original ^ (1 << (bit & 7)), at);
    if (!(await refusedOrSame(copy))) t.fail(`bit ${bit} went unnoticed`);
    copy.writeUInt8(original, at);
  }
});

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  cut: fc.nat(40),
  insert: fc.uint8Array({ maxLength: 40 }),
});

function edited(data: Uint8Array, edits: readonly { at: number; cut: number; insert: Uint8Array }[]): Buffer {
  return edits.reduce((now, { at, cut, insert }) => {
    const place = Math.floor(at * now.length);
    return Buffer.concat([now.subarray(0, place), insert, now.subarray(place + cut)]);
  }, Buffer.from(data));
}

t.test('G1: edits of the bundle are refused, or change nothing', async () => {
  const edits = fc.array(edit, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(edits, async (list) => refusedOrSame(edited(BUNDLE, list))),
    { numRuns: 3000 },
  );
});

t.test('G1: edits below the CRC, as an attacker makes them, are refused or change no state', async () => {
  const tar = gunzipSync(BUNDLE);
  const overwrites = fc.array(
    fc.record({ at: fc.nat(tar.length - 1), insert: fc.uint8Array({ minLength: 1, maxLength: 4 }) }),
    { minLength: 1, maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(overwrites, async (list) => {
      const copy = Buffer.from(tar);
      for (const { at, insert } of list) copy.set(insert.subarray(0, copy.length - at), at);
      return refusedOrSame(gzipSync(copy, { level: 1 }));
    }),
    { numRuns: 3000 },
  );
  const edits = fc.array(edit, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(edits, async (list) => refusedOrSame(gzipSync(edited(tar, list), { level: 1 }))),
    { numRuns: 1000 },
  );
});

t.test('G1: header fields with good checksums are refused or change no state', async () => {
  const tar = gunzipSync(BUNDLE);
  const headers = ['manifest.json\0', 'nvram/nvram.fd\0', `${PERMALL_PATH}\0`].map((name) =>
    tar.indexOf(name),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...headers),
      fc.oneof(fc.nat(511), fc.integer({ min: 124, max: 156 })),
      fc.oneof(fc.nat(255), fc.integer({ min: 0x30, max: 0x39 })),
      async (header, at, value) =>
        refusedOrSame(gzipSync(withHeaderByte(tar, header, at, value), { level: 1 })),
    ),
    { numRuns: 3000 },
  );
});
