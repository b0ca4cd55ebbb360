import fc from 'fast-check';
import t from 'tap';
import { SLOT_MAX } from '../../../src/model/generation-name.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { formatPayload, parsePayload, type ClaimEntry } from '../../../src/model/log-entry.js';
import { anyEntry, anyText } from '../../fixtures/log-arbitraries.js';

/** The longest symbolic link that each of ext4, XFS, Btrfs and NFS takes, bytes. */
const LINK_BYTES_MAX = 1023;

const CLAIM: ClaimEntry = {
  kind: 'claim',
  slot: 42,
  host: parseHostName('kvm-b'),
  token: '5fb1c0d3a2b49e87',
  at: '2026-01-02T03:04:05.678Z',
  reason: 'take-over',
};
const GENERATION = '00000041-e00000036-kvm-a-90ad17c2b1e4f603-5fb1c0d3a2b49e87.tar.gz';
const slots = fc.integer({ min: 1, max: SLOT_MAX });

t.test('entries read as the layout of the share shows them', async (t) => {
  const signed = 'host=kvm-b&token=5fb1c0d3a2b49e87&at=2026-01-02T03:04:05.678Z';
  t.equal(formatPayload(CLAIM), `claim?${signed}&reason=take-over`);
  t.equal(
    formatPayload({ ...CLAIM, kind: 'release', epoch: 41, reason: 'shutdown' }),
    `release?${signed}&epoch=41&reason=shutdown`,
  );
  t.match(parsePayload(41, `../gen/${GENERATION}`), {
    kind: 'publish',
    slot: 41,
    generation: { epoch: 36, host: 'kvm-a' },
  });
});

t.test('an entry comes back from its payload as it was', async (t) => {
  fc.assert(
    fc.property(
      slots.chain((slot) => anyEntry(slot)),
      (entry) => {
        t.strictSame(parsePayload(entry.slot, formatPayload(entry)), entry);
      },
    ),
  );
});

t.test(
  'a payload fits into a symbolic link of every file system, whatever the reason that was given',
  async (t) => {
    const widest = { ...CLAIM, host: parseHostName('a'.repeat(63)), token: 'f'.repeat(64) };
    for (const reason of ['\u20ac'.repeat(5_000), '😀'.repeat(5_000), '&=%\n'.repeat(5_000)]) {
      const payload = formatPayload({
        ...widest,
        kind: 'release',
        epoch: SLOT_MAX - 1,
        slot: SLOT_MAX,
        reason,
      });
      t.ok(Buffer.byteLength(payload) <= LINK_BYTES_MAX, `${Buffer.byteLength(payload)} bytes`);
      t.equal(parsePayload(SLOT_MAX, payload).kind, 'release');
      t.notMatch(payload, /[^\x21-\x7e]/, 'printable by `ls -l`');
    }
  },
);

t.test('G3: a generation counts in the slot it aimed at, and in no other', async (t) => {
  t.equal(parsePayload(41, `../gen/${GENERATION}`).kind, 'publish');
  t.equal(parsePayload(40, `../gen/${GENERATION}`).kind, 'unknown');
  t.equal(parsePayload(42, `../gen/${GENERATION}`).kind, 'unknown');
});

t.test('what cannot be read takes its slot and says nothing else', async (t) => {
  const claim = formatPayload(CLAIM);
  const release = formatPayload({ ...CLAIM, kind: 'release', epoch: 41 });
  const hostile = [
    '',
    '?',
    'claim',
    'claim?',
    'CLAIM?' + claim.slice(6),
    ` ${claim}`,
    claim.replace('kvm-b', '../x'),
    claim.replace('kvm-b', ''),
    claim.replace('kvm-b', 'kvm%00b'),
    claim.replace('token=', 'tok='),
    claim.replace('5fb1c0d3a2b49e87', '5FB1C0D3A2B49E87'),
    claim.replace('5fb1c0d3a2b49e87', '%FF%FE'),
    release.replace('&epoch=41', ''),
    ...['0', '-1', '42', '43', '1.5', '0x10', '1e1', '041', '%2041', 'NaN', '9'.repeat(400)].map((epoch) =>
      release.replace('epoch=41', `epoch=${epoch}`),
    ),
    '../gen/',
    `../gen/../${GENERATION}`,
    `../gen//${GENERATION}`,
    `/gen/${GENERATION}`,
    `gen/${GENERATION}`,
    '/etc/passwd',
    '\0',
    '\ud800',
  ];
  for (const payload of hostile) {
    t.strictSame(
      parsePayload(42, payload),
      { kind: 'unknown', slot: 42, payload },
      JSON.stringify(payload.slice(0, 90)),
    );
  }
});

t.test('no payload makes the reader throw', async () => {
  const words = fc.constantFrom(
    'claim',
    'release',
    'tombstone',
    '?',
    '&',
    '=',
    'host',
    'token',
    'epoch',
    '%',
    '%ff',
    '../gen/',
    GENERATION,
    'kvm-b',
    '5fb1c0d3a2b49e87',
  );
  const payloads = fc.array(fc.oneof(words, anyText(5)), { maxLength: 14 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(slots, payloads, (slot, payload) => parsePayload(slot, payload).slot === slot),
    { numRuns: 1000 },
  );
});
