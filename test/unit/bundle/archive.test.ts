import fc from 'fast-check';
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { decodeBundle, describeCapture, encodeBundle } from '../../../src/bundle/archive.js';
import { GENERATION_REASONS } from '../../../src/bundle/manifest.js';
import {
  NVRAM_FILE_NAME,
  STATE_FILE_NAMES,
  type Capture,
  type StateFile,
} from '../../../src/model/capture.js';
import { sha256Of, withoutTail } from '../../../src/model/content.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';
import {
  CAPTURE,
  captureOf,
  ENTRIES,
  FIELDS,
  fileEntry,
  MANIFEST,
  manifestEntry,
  NVRAM,
  PERMALL,
  stateFile,
  tarGzOf,
} from './fixtures/bundles.js';

const mode = fc.integer({ min: 0, max: 0o777 });
const data = fc.oneof(fc.uint8Array({ maxLength: 2000 }), fc.uint8Array({ minLength: 512, maxLength: 512 }));
const roles = ['tpm2', 'tpm1.2'] as const;
const tpmNames = roles.flatMap((role) => STATE_FILE_NAMES[role].map((name) => ({ role, name })));
const tpmFile = fc.record({ place: fc.constantFrom(...tpmNames), data, mode });
const nvramFile = fc.record({
  place: fc.constant({ role: 'nvram' as const, name: NVRAM_FILE_NAME }),
  data,
  mode,
});

const anyCapture = fc
  .record({
    tpm: fc.uniqueArray(tpmFile, { minLength: 1, maxLength: 4, selector: (file) => file.place.name }),
    nvram: fc.option(nvramFile),
    mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n }),
    seed: fc.option(fc.string()),
  })
  .map(({ tpm, nvram, mtimeNs, seed }) => {
    const files = [...tpm, ...(nvram ? [nvram] : [])].map((file) => ({
      ...stateFile(file.place.role, file.place.name, file.data, file.mode),
      mtimeNs,
    }));
    return { ...captureOf(files), identity: seed === null ? undefined : sha256(seed) };
  });

const anyFields = fc.record({
  slot: fc.integer({ min: 3, max: 99_999_999 }),
  epoch: fc.integer({ min: 0, max: 2 }),
  parent: fc.integer({ min: 0, max: 2 }),
  host: fc.constant(FIELDS.host),
  bootId: fc.constantFrom('', FIELDS.bootId),
  time: fc
    .date({ min: new Date('1900-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
    .map((d) => d.toISOString()),
  reason: fc.constantFrom(...GENERATION_REASONS),
  name: fc.string({ unit: 'binary', maxLength: 80 }),
  swtpm: fc.constantFrom('', '0.7.1', '0.11.0-dev'),
  libtpms: fc.constantFrom('', '0.10.1'),
});

/** With plain byte arrays, so that two captures compare by content. */
function plain(capture: Capture): unknown {
  return { ...capture, files: capture.files.map((file) => ({ ...file, data: [...file.data] })) };
}

t.test('G1: any capture and manifest read back as they were encoded', async (t) => {
  await fc.assert(
    fc.asyncProperty(anyCapture, anyFields, async (capture, fields) => {
      const manifest = describeCapture(capture, fields);
      const read = await decodeBundle(await encodeBundle(manifest, capture));
      t.strictSame(read.manifest, manifest);
      t.strictSame(plain(read.capture), plain(capture));
    }),
    { numRuns: 300 },
  );
});

t.test('the largest files that a capture can hold read back', async (t) => {
  const capture = captureOf([stateFile('tpm2', 'tpm2-00.permall', new Uint8Array(16 * 1024 * 1024).fill(7))]);
  const read = await decodeBundle(await encodeBundle(describeCapture(capture, FIELDS), capture));
  t.equal(read.capture.digest, capture.digest);
});

t.test('equal input gives equal bytes, whatever the order of the files', async (t) => {
  const first = await encodeBundle(MANIFEST, CAPTURE);
  const shuffled = { ...CAPTURE, files: [...CAPTURE.files].reverse() };
  t.strictSame(await encodeBundle(describeCapture(shuffled, FIELDS), shuffled), first);
});

t.test('a set-user-ID bit of the host is not carried over', async (t) => {
  const capture = captureOf([stateFile('tpm2', 'tpm2-00.permall', Buffer.from('x'), 0o4750)]);
  t.equal(describeCapture(capture, FIELDS).files[0]?.mode, 0o750);
});

t.test('encoding and decoding wait for nothing outside, so that a simulation replays exactly', async (t) => {
  let turned = false;
  setImmediate(() => (turned = true));
  await decodeBundle(await encodeBundle(MANIFEST, CAPTURE));
  t.notOk(turned);
});

t.test('G6: a manifest that does not describe the capture is never encoded', async (t) => {
  const other = parseDomainUuid('00000000-7a1f-4c3b-9d55-0e8f1a2b3c4d');
  const [nvram, permall] = CAPTURE.files;
  const flipped = { ...PERMALL, data: Buffer.from(PERMALL.data).fill(0, 0, 1) };
  const cases: readonly [string, Capture][] = [
    ['of another domain', { ...CAPTURE, uuid: other }],
    ['of another TPM', { ...CAPTURE, identity: undefined }],
    ['with a file less', { ...CAPTURE, files: [PERMALL] }],
    ['with another file', captureOf([PERMALL, stateFile('tpm2', 'tpm2-00.savestate', NVRAM.data)])],
    ['with other content under the same hash', { ...CAPTURE, files: [nvram ?? NVRAM, flipped] }],
    ['with a shorter file', { ...CAPTURE, files: [permall ?? PERMALL, { ...NVRAM, data: Buffer.alloc(1) }] }],
  ];
  for (const [name, capture] of cases) {
    await t.rejects(encodeBundle(MANIFEST, capture), { code: 'INTERNAL' }, name);
  }
  await t.rejects(encodeBundle({ ...MANIFEST, digest: sha256('x') }, CAPTURE), { code: 'INTERNAL' });
});

t.test('a plain tar opens a bundle: names, contents, modes and the manifest', async (t) => {
  const times: readonly [string, number][] = [
    [FIELDS.time, 1_772_360_430],
    ['2100-01-01T00:00:00Z', 2 ** 31 - 1],
    ['1931-01-01T00:00:00Z', 0],
  ];
  for (const [time, seconds] of times) {
    const savestate = stateFile('tpm2', 'tpm2-00.savestate', Buffer.alloc(0), 0);
    const capture = captureOf([PERMALL, NVRAM, savestate]);
    const manifest = describeCapture(capture, { ...FIELDS, time });
    const directory = t.testdir({ 'bundle.tar.gz': Buffer.from(await encodeBundle(manifest, capture)) });
    const listed = execFileSync('tar', ['tzf', 'bundle.tar.gz'], { cwd: directory, encoding: 'utf8' });
    t.equal(listed, 'manifest.json\nnvram/nvram.fd\ntpm2/tpm2-00.permall\ntpm2/tpm2-00.savestate\n');
    const flags = ['--no-same-owner', '--warning=no-timestamp', '-p', '-xzf', 'bundle.tar.gz'];
    t.equal(execFileSync('tar', flags, { cwd: directory, encoding: 'utf8' }), '');
    for (const file of capture.files) {
      const path = `${directory}/${file.role}/${file.name}`;
      t.equal(statSync(path).mode & 0o7777, file.mode, `mode of ${file.name}`);
      t.equal(statSync(path).mtimeMs, seconds * 1000, `time of ${file.name}`);
      t.strictSame(readFileSync(path), Buffer.from(file.data), `content of ${file.name}`);
    }
    t.equal(statSync(`${directory}/manifest.json`).mode & 0o7777, 0o600);
    t.strictSame(JSON.parse(readFileSync(`${directory}/manifest.json`, 'utf8')), manifest);
  }
});

t.test('a bundle that somebody packed again with plain tar reads back', async (t) => {
  const directory = t.testdir();
  mkdirSync(`${directory}/tpm2`);
  writeFileSync(`${directory}/tpm2/tpm2-00.permall`, PERMALL.data, { mode: 0o644 });
  const capture = captureOf([PERMALL]);
  const manifest = describeCapture(capture, FIELDS);
  writeFileSync(`${directory}/manifest.json`, JSON.stringify(manifest));
  const names = ['manifest.json', 'tpm2/tpm2-00.permall'];
  for (const format of ['gnu', 'ustar']) {
    const tar = execFileSync('tar', [`--format=${format}`, '-c', ...names], { cwd: directory });
    const read = await decodeBundle(gzipSync(tar));
    t.strictSame(plain(read.capture), plain(capture), 'modes and times are those of the manifest');
  }
});

t.test(
  'the files of a capture are sorted, whatever their order in the archive and its manifest',
  async (t) => {
    const reversed = { ...MANIFEST, files: [...MANIFEST.files].reverse() };
    const reordered = await tarGzOf([manifestEntry(reversed), fileEntry(PERMALL), fileEntry(NVRAM)]);
    t.strictSame(plain((await decodeBundle(reordered)).capture), plain(CAPTURE));
    t.strictSame(plain((await decodeBundle(await tarGzOf(ENTRIES))).capture), plain(CAPTURE));
  },
);

t.test('firmware variables of 64 MiB cost what is in them, and a plain tar has them whole', async (t) => {
  const flash = Buffer.alloc(64 * 1024 * 1024, 0xff);
  for (const [at, text] of [
    [0, 'first'],
    [700_000, 'second'],
  ] as const) {
    flash.write(text, at);
  }
  const content = withoutTail(flash);
  const nvram: StateFile = {
    role: 'nvram',
    name: 'nvram.fd',
    mode: 0o600,
    mtimeNs: 0n,
    ...content,
    sha256: sha256Of(content),
  };
  const tpm = CAPTURE.files.filter(({ role }) => role === 'tpm2');
  const files = [nvram, ...tpm];
  const capture = { ...CAPTURE, files, digest: contentDigest(files) };
  const manifest = describeCapture(capture, FIELDS);
  t.equal(manifest.format, 2, 'which earlier versions refuse by its number');
  const archive = await encodeBundle(manifest, capture);
  t.ok(archive.length < 100_000, `${String(archive.length)} bytes`);
  const read = (await decodeBundle(archive)).capture.files[0];
  t.equal(read?.sha256, nvram.sha256);
  t.ok(read && read.data.length < 2 * 1024 * 1024, 'and little memory');
  const listed = execFileSync('tar', ['-xzO', 'nvram/nvram.fd'], { input: archive, maxBuffer: 2 ** 28 });
  t.equal(Buffer.compare(listed, flash), 0);
});
