import fc from 'fast-check';
import t from 'tap';
import { endorsementIdentity } from '../../../src/model/endorsement-identity.js';
import { sha256 } from '../../../src/model/hash.js';
import { PLAIN_TPM2_FIXTURES, readStateBlob } from '../../fixtures/state-blobs.js';

const CONTAINER_BYTES = 16;
/** Offsets in the payload of a state that libtpms 0.9 wrote and whose TPM has no policy and no authorisation set. */
const CONSTANTS_AT = 8;
const CONSTANT_COUNT_AT = 16;
const CONSTANTS_END = CONSTANT_COUNT_AT + 4 + 120 * 4;
const PERSISTENT_DATA_AT = CONSTANTS_END + 3;
const SEED_AT = PERSISTENT_DATA_AT + 8 + 1 + 6 + 12 + 2;
const SEED_BYTES = 64;
/** Three seeds, three proofs, two counters, block, version and magic of the PCR policies. */
const WALK_END = SEED_AT + 6 * SEED_BYTES + 5 * 2 + 12 + 3 + 6;

type Fixture = (typeof PLAIN_TPM2_FIXTURES)[number];

function payload(fixture: Fixture): Uint8Array {
  return readStateBlob(fixture).data.slice(CONTAINER_BYTES);
}

function identity(fixture: Fixture): string | undefined {
  return endorsementIdentity(payload(fixture));
}

function splice(data: Uint8Array, at: number, remove: number, insert: readonly number[]): Uint8Array {
  return Uint8Array.from([...data.subarray(0, at), ...insert, ...data.subarray(at + remove)]);
}

/** The payload as libtpms 0.10 writes it for a TPM with this profile text. */
function withProfile(data: Uint8Array, profile: readonly number[]): Uint8Array {
  const header = [0, 4, 0xab, 0x36, 0x47, 0x23, 0, 4, profile.length >> 8, profile.length & 0xff];
  return splice(data, 0, CONSTANTS_AT, [...header, ...profile]);
}

const PROFILE = [...new TextEncoder().encode('{"Name":"default-v1","StateFormatLevel":7}'), 0];

t.test(
  'a TPM keeps its identity through NV writes, new keys, a changed owner password, restart and clear',
  async (t) => {
    const before = identity('used.permall');
    t.match(before, /^[0-9a-f]{64}$/);
    t.equal(identity('used-restarted.permall'), before);
    t.equal(identity('used-cleared.permall'), before);
  },
);

t.test('two TPMs differ, and a TPM whose endorsement seed was changed is another TPM', async (t) => {
  const identities = [
    'fresh-a.permall',
    'fresh-b.permall',
    'used.permall',
    'used-changed-eps.permall',
  ] as const;
  t.equal(new Set(identities.map(identity)).size, identities.length);
});

t.test('the identity is a hash of the seed under its own prefix, and not of anything else', async (t) => {
  const data = payload('fresh-a.permall');
  const prefix = new TextEncoder().encode('swtpm-mirror endorsement seed\n');
  const seed = data.subarray(SEED_AT, SEED_AT + SEED_BYTES);
  t.equal(endorsementIdentity(data), sha256(Uint8Array.from([...prefix, ...seed])));
  t.not(endorsementIdentity(data), sha256(seed));
});

t.test('the same TPM has the same identity in the layouts of newer and older libtpms', async (t) => {
  const data = payload('fresh-a.permall');
  const expected = endorsementIdentity(data);
  const newerData = splice(data, PERSISTENT_DATA_AT, 8, [0, 5, 0x12, 0x21, 0x34, 0x43, 0, 5]);
  t.equal(endorsementIdentity(withProfile(data, PROFILE)), expected, 'payload version 4 with a profile');
  t.equal(endorsementIdentity(withProfile(newerData, PROFILE)), expected, 'persistent data version 5');
  const fewerConstants = splice(data, CONSTANTS_END - 32 * 4, 32 * 4, []);
  const older = splice(fewerConstants, CONSTANTS_AT, 12, [0, 2, 0xc9, 0xea, 0x64, 0x31, 0, 1, 0, 0, 0, 88]);
  t.equal(
    endorsementIdentity(splice(older, 0, 8, [0, 2, 0xab, 0x36, 0x47, 0x23, 0, 1])),
    expected,
    'payload version 2',
  );
});

t.test('policies and passwords before the seed do not move it', async (t) => {
  const data = payload('fresh-a.permall');
  const expected = endorsementIdentity(data);
  const values = SEED_AT - 2 - 12;
  for (const length of [1, 20, 32, 64]) {
    const value = [0, length, ...Array.from({ length }, (_, index) => index)];
    t.equal(endorsementIdentity(splice(data, values, 2, value)), expected, `owner policy of ${length} bytes`);
    t.equal(
      endorsementIdentity(splice(data, values + 10, 2, value)),
      expected,
      `lockout password of ${length} bytes`,
    );
  }
  t.equal(endorsementIdentity(splice(data, values, 2, [0, 65, ...new Uint8Array(65)])), undefined);
});

t.test('a layout that is not known gives no identity', async (t) => {
  const data = payload('fresh-a.permall');
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['payload version 5', splice(data, 0, 2, [0, 5])],
    ['payload version 1', splice(data, 0, 2, [0, 1])],
    ['a profile that does not end in NUL', withProfile(data, PROFILE.slice(0, -1))],
    ['a profile with a NUL inside', withProfile(data, [...PROFILE, 0])],
    ['an empty profile', withProfile(data, [])],
    ['a profile that is not JSON', withProfile(data, [0x41, 0])],
    ['newer compile constants', splice(data, CONSTANTS_AT, 2, [0, 4])],
    ['another number of constants', splice(data, CONSTANT_COUNT_AT, 8, [0, 0, 0, 119])],
    ['something behind the constants', splice(data, CONSTANTS_END, 3, [1, 0, 1, 0])],
    ['newer persistent data', splice(data, PERSISTENT_DATA_AT, 2, [0, 6])],
    [
      'a seed of another size',
      splice(data, SEED_AT - 2, 2 + SEED_BYTES, [0, 32, ...new Uint8Array(32).fill(9)]),
    ],
    ['a seed that was never made', splice(data, SEED_AT, SEED_BYTES, [...new Uint8Array(SEED_BYTES)])],
    ['no PCR policies behind', splice(data, WALK_END - 4, 4, [0, 0, 0, 0])],
  ];
  for (const [scenario, changed] of cases) t.equal(endorsementIdentity(changed), undefined, scenario);
});

t.test('no truncation gives another identity', async (t) => {
  const data = payload('fresh-a.permall');
  const expected = endorsementIdentity(data);
  for (let length = 0; length < data.length; length += 1) {
    const found = endorsementIdentity(data.subarray(0, length));
    if (found !== undefined && found !== expected) t.fail(`cut to ${length} bytes`);
  }
  t.equal(endorsementIdentity(data.subarray(0, WALK_END + 1)), undefined);
});

t.test('damage outside the seed never gives another identity', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...PLAIN_TPM2_FIXTURES),
      fc.nat(7000),
      fc.uint8Array({ minLength: 1, maxLength: 4 }),
      (fixture, at, bytes) => {
        const data = payload(fixture);
        const expected = endorsementIdentity(data);
        const start = at % data.length;
        data.set(bytes.subarray(0, data.length - start), start);
        const original = payload(fixture);
        const found = endorsementIdentity(data);
        const seedChanged = data.some((byte, index) => byte !== original[index] && isSeed(fixture, index));
        return seedChanged || found === undefined || found === expected;
      },
    ),
    { numRuns: 5000 },
  );
  t.pass();
});

/** In a used TPM the owner's password stands before the seed. */
function isSeed(fixture: Fixture, index: number): boolean {
  const moved = fixture === 'used-restarted.permall' ? 'throw-away'.length : 0;
  return index >= SEED_AT + moved && index < SEED_AT + moved + SEED_BYTES;
}
