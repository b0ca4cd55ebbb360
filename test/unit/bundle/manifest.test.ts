import t from 'tap';
import {
  FILES_MAX,
  formatManifest,
  MANIFEST_BYTES_MAX,
  parseManifest,
  type Manifest,
} from '../../../src/bundle/manifest.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { MANIFEST, refusal, STATE_MARK } from './fixtures/bundles.js';

const [NVRAM, PERMALL] = MANIFEST.files;

function refused(value: unknown): Promise<string> {
  const data = value instanceof Uint8Array ? value : Buffer.from(JSON.stringify(value));
  return refusal(async () => Promise.resolve(parseManifest(data)));
}

/** A manifest of these files, consistent in its digest. */
function withFiles(files: readonly object[]): object {
  return { ...MANIFEST, files, digest: contentDigest(files as Manifest['files']) };
}

t.test('a manifest reads back as it was written', async (t) => {
  const text = Buffer.from(formatManifest(MANIFEST)).toString();
  t.ok(text.startsWith('{\n  "format": 1,\n  "uuid": "6b0c2d4e-'), 'pretty-printed, the format first');
  t.ok(text.endsWith('}\n'));
  t.same(parseManifest(Buffer.from(text)), MANIFEST);
});

t.test('its text does not depend on the order in which its keys were set', async (t) => {
  const reversed = Object.fromEntries(Object.entries(MANIFEST).reverse()) as unknown as Manifest;
  t.same(formatManifest(reversed), formatManifest(MANIFEST));
});

t.test(
  'what is unknown may be empty: spooled copies have no slot, encrypted state no identity',
  async (t) => {
    const bare = {
      ...MANIFEST,
      slot: 0,
      epoch: 0,
      parent: 0,
      name: '',
      bootId: '',
      swtpm: '',
      libtpms: '',
      identity: null,
    };
    t.same(parseManifest(formatManifest(bare)), bare);
    const underClaim = { ...bare, epoch: 42, parent: 41 };
    t.same(parseManifest(formatManifest(underClaim)), underClaim, 'written under a claim, aimed at no slot');
  },
);

t.test('a domain name may hold any characters', async (t) => {
  const named = { ...MANIFEST, name: 'büro\t"1" \u{1F5A5} \uD800' };
  t.same(parseManifest(formatManifest(named)).name, named.name);
});

t.test('keys and reasons that a later version adds to format 1 are accepted', async (t) => {
  const later = { ...MANIFEST, reason: 'evacuate', cluster: { name: 'x' }, ['__proto__x']: 1 };
  const files = MANIFEST.files.map((file) => ({ ...file, colour: 'red' }));
  t.same(parseManifest(Buffer.from(JSON.stringify({ ...later, files }))), {
    ...MANIFEST,
    reason: 'evacuate',
  });
});

t.test('a later format is refused by its number, whatever else it holds', async (t) => {
  t.equal(
    await refused({ format: 3, whatever: true }),
    'SHARE_VERSION: cannot read bundle: its manifest has format 3, this version reads up to 2',
  );
  const read = async (): Promise<unknown> => Promise.resolve(parseManifest(Buffer.from('{"format": 3}')));
  t.match(await read().catch((error: unknown) => error), {
    next: 'upgrade swtpm-mirror on this host to a version that reads format 3',
  });
});

t.test('G6: what is not a whole, valid manifest is refused, and the message names the place', async (t) => {
  const cases: readonly [string, unknown, RegExp][] = [
    ['nothing', Buffer.alloc(0), /its manifest is not JSON$/],
    ['cut short', formatManifest(MANIFEST).subarray(0, -3), /its manifest is not JSON$/],
    ['state in its place', Buffer.from(STATE_MARK), /its manifest is not JSON$/],
    ['not UTF-8', Buffer.from([0x22, 0xff, 0x22]), /its manifest is not UTF-8$/],
    ['a byte order mark', Buffer.concat([Buffer.from('\uFEFF'), formatManifest(MANIFEST)]), /not JSON$/],
    ['too large', Buffer.alloc(MANIFEST_BYTES_MAX + 1, ' '), /has 65537 bytes, expected at most 65536$/],
    ['null', null, /the whole: .*expected object/],
    ['an array', [MANIFEST], /the whole: .*expected object/],
    ['no format', { ...MANIFEST, format: undefined }, /format: /],
    ['format 0', { ...MANIFEST, format: 0 }, /format: /],
    ['format 1.5', { ...MANIFEST, format: 1.5 }, /format: /],
    ['format in words', { ...MANIFEST, format: '2' }, /format: /],
    ['a UUID with a path', { ...MANIFEST, uuid: '../../etc/passwd' }, /uuid: expected a domain UUID/],
    ['a UUID in capitals', { ...MANIFEST, uuid: MANIFEST.uuid.toUpperCase() }, /uuid: /],
    ['a host with a path', { ...MANIFEST, host: '../kvm-a' }, /host: expected a host name/],
    ['a name of the wrong type', { ...MANIFEST, name: 7 }, /name: /],
    ['an endless name', { ...MANIFEST, name: 'x'.repeat(1025) }, /name: /],
    ['a negative slot', { ...MANIFEST, slot: -1 }, /slot: /],
    ['a slot beyond the names', { ...MANIFEST, slot: 100_000_000 }, /slot: /],
    ['half a slot', { ...MANIFEST, slot: 43.5 }, /slot: /],
    [
      'an epoch at its slot',
      { ...MANIFEST, epoch: 43 },
      /slot: expected a slot above its epoch and its parent/,
    ],
    ['a parent above its slot', { ...MANIFEST, parent: 44 }, /slot: expected a slot above/],
    ['no such day', { ...MANIFEST, time: '2026-02-30T00:00:00Z' }, /time: expected an RFC 3339 time in UTC/],
    ['local time', { ...MANIFEST, time: '2026-02-03T00:00:00+01:00' }, /time: /],
    ['a reason of two lines', { ...MANIFEST, reason: 'stop\nchange' }, /reason: /],
    ['control characters', { ...MANIFEST, swtpm: '\u001b[2J' }, /swtpm: expected at most 128 printable/],
    ['a short digest', { ...MANIFEST, digest: 'abc' }, /digest: /],
    [
      'another digest',
      { ...MANIFEST, digest: sha256('x') },
      /digest: expected the digest that the files give/,
    ],
    ['an empty identity', { ...MANIFEST, identity: '' }, /identity: /],
    ['no files', withFiles([]), /files: /],
    ['files of the wrong type', { ...MANIFEST, files: 'tpm2' }, /files: /],
    ['too many files', withFiles(Array<object>(FILES_MAX + 1).fill({ ...PERMALL })), /files: Too big/],
    ['a file twice', withFiles([{ ...PERMALL }, { ...PERMALL }]), /files: expected each file once/],
    ['no TPM', withFiles([{ ...NVRAM }]), /files: expected at least one file of a TPM/],
    ['an unknown role', withFiles([{ ...PERMALL, role: 'tpm3' }]), /files\.0\.role: /],
    [
      'a path for a name',
      withFiles([{ ...PERMALL, name: '../tpm2-00.permall' }]),
      /files\.0\.name: expected the name/,
    ],
    [
      "another role's name",
      withFiles([{ ...PERMALL, name: 'nvram.fd' }]),
      /files\.0\.name: expected the name/,
    ],
    ["swtpm's lock", withFiles([{ ...PERMALL, name: '.lock' }]), /files\.0\.name: expected the name/],
    ['an inherited name', withFiles([{ ...PERMALL, role: 'constructor' }]), /files\.0\.role: /],
    ['an oversized file', withFiles([{ ...PERMALL, size: 16 * 1024 * 1024 + 1 }]), /files\.0\.size: /],
    ['a negative size', withFiles([{ ...PERMALL, size: -1 }]), /files\.0\.size: /],
    ['a set-user-ID mode', withFiles([{ ...PERMALL, mode: 0o4755 }]), /files\.0\.mode: /],
    ['a time as a number', withFiles([{ ...PERMALL, mtimeNs: 1 }]), /files\.0\.mtimeNs: /],
    ['a time in hexadecimal', withFiles([{ ...PERMALL, mtimeNs: '0x10' }]), /files\.0\.mtimeNs: /],
    ['a file without a hash', withFiles([{ ...PERMALL, sha256: undefined }]), /files\.0\.sha256: /],
  ];
  for (const [name, value, message] of cases) {
    const said = await refused(value);
    t.match(said, /^GENERATION_DAMAGED: cannot read bundle: /, name);
    t.match(said, message, name);
  }
});

t.test('nothing is written that would not read back', async (t) => {
  t.throws(() => formatManifest({ ...MANIFEST, slot: -1 }), { code: 'INTERNAL', message: /slot/ });
});
