import fc from 'fast-check';
import t from 'tap';
import { STATE_FILE_BYTES_MAX } from '../../../src/model/capture.js';
import { MirrorError } from '../../../src/model/errors.js';
import { stateFaultOf } from '../../../src/model/state-fault.js';
import { validateStateFile, type BlobInfo } from '../../../src/model/swtpm-blob.js';
import {
  ENCRYPTED_FIXTURES,
  PLAIN_TPM2_FIXTURES,
  readStateBlob,
  STATE_FIXTURES,
  TPM12_FIXTURES,
  type StateBlob,
} from '../../fixtures/state-blobs.js';

const HEADER_BYTES = 10;
/** In the header; what lies before it is the same in every file of this format. */
const FLAGS_AT = 4;
const FIRST_ENTRY_BYTES = 6;
const MESSAGE = /^validate (tpm2?-00\.(permall|savestate)|"[^"]*"): [^\n]*[^.\n]$/;

function validate(blob: StateBlob, data: Uint8Array): BlobInfo {
  return validateStateFile(blob.role, blob.name, data);
}

/** The message of the rejection, after a check of its form; `undefined` when the file was accepted. */
function rejection(blob: StateBlob, data: Uint8Array): string | undefined {
  try {
    validate(blob, data);
    return undefined;
  } catch (error) {
    if (!(error instanceof MirrorError) || stateFaultOf(error) === undefined) throw error;
    if (!MESSAGE.test(error.message) || error.next === '') {
      throw new Error('a badly formed error', { cause: error });
    }
    return error.message;
  }
}

function withBytes(data: Uint8Array, at: number, bytes: readonly number[]): Uint8Array {
  const copy = data.slice();
  copy.set(bytes, at);
  return copy;
}

function uint32(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

/** A blob around entries, with a header whose total length fits. */
function blobOf(flags: number, entries: readonly (readonly [tag: number, data: Uint8Array])[]): Uint8Array {
  const body = entries.flatMap(([tag, data]) => [0, tag, ...uint32(data.length), ...data]);
  return Uint8Array.from([2, 1, 0, HEADER_BYTES, 0, flags, ...uint32(HEADER_BYTES + body.length), ...body]);
}

const anyState: StateBlob = readStateBlob('used.permall');

t.test('G6: state that swtpm wrote is accepted', async (t) => {
  for (const fixture of PLAIN_TPM2_FIXTURES) {
    const blob = readStateBlob(fixture);
    const info = validate(blob, blob.data);
    t.match(info, {
      encryption: 'none',
      selfValidating: true,
      libtpms: { payloadVersion: 3, minVersion: 3 },
      identity: /^[0-9a-f]{64}$/,
    });
  }
  for (const fixture of ENCRYPTED_FIXTURES) {
    const blob = readStateBlob(fixture);
    t.strictSame(validate(blob, blob.data), { encryption: 'key', selfValidating: false }, fixture);
  }
  for (const fixture of TPM12_FIXTURES) {
    const blob = readStateBlob(fixture);
    t.strictSame(validate(blob, blob.data), { encryption: 'none', selfValidating: true }, fixture);
  }
});

t.test('a view into a larger buffer is read at its own offset', async (t) => {
  const padded = new Uint8Array(anyState.data.length + 20);
  padded.set(anyState.data, 7);
  const view = padded.subarray(7, 7 + anyState.data.length);
  t.strictSame(validate(anyState, view), validate(anyState, anyState.data));
});

t.test('G6: every truncation of every state file is rejected', async (t) => {
  for (const fixture of STATE_FIXTURES) {
    const blob = readStateBlob(fixture);
    for (let length = 0; length < blob.data.length; length += 1) {
      if (rejection(blob, blob.data.subarray(0, length)) === undefined) {
        t.fail(`${fixture} cut to ${length} bytes`);
      }
    }
    t.pass(`${fixture}: ${blob.data.length} lengths`);
  }
});

t.test('G6: a truncation that a power loss filled up with zeros is rejected', async (t) => {
  for (const fixture of [...PLAIN_TPM2_FIXTURES, ...TPM12_FIXTURES]) {
    const blob = readStateBlob(fixture);
    for (let length = 0; length < blob.data.length; length += 1) {
      const zeroed = blob.data.slice().fill(0, length);
      const isSame = blob.data.subarray(length).every((byte) => byte === 0);
      if (!isSame && rejection(blob, zeroed) === undefined) t.fail(`${fixture} zeroed from byte ${length}`);
    }
    t.pass(fixture);
  }
});

t.test('G6: every change of one byte of the header or of an entry header is rejected', async (t) => {
  for (const fixture of STATE_FIXTURES) {
    const blob = readStateBlob(fixture);
    for (let at = 0; at < HEADER_BYTES + FIRST_ENTRY_BYTES; at += 1) {
      for (let byte = 0; byte < 256; byte += 1) {
        if (byte === blob.data[at]) continue;
        if (rejection(blob, withBytes(blob.data, at, [byte])) === undefined) {
          t.fail(`${fixture}: ${byte} at ${at}`);
        }
      }
    }
    t.pass(fixture);
  }
});

t.test('G6: every change of one byte of either magic is rejected', async (t) => {
  const blob = readStateBlob('used.permall');
  const places = [18, 19, 20, 21, ...[4, 3, 2, 1].map((fromEnd) => blob.data.length - fromEnd)];
  for (const at of places) {
    for (let flip = 1; flip < 256; flip += 1) {
      const flipped = withBytes(blob.data, at, [(blob.data[at] ?? 0) ^ flip]);
      if (rejection(blob, flipped) === undefined) t.fail(`byte ${at} flipped by ${flip}`);
    }
  }
  t.pass();
});

t.test('G6: a changed payload version is rejected or gives no identity', async (t) => {
  const blob = readStateBlob('used.permall');
  for (let version = 0; version < 0x10000; version += 7) {
    if (version === 3) continue;
    const changed = withBytes(blob.data, 16, [version >> 8, version & 0xff]);
    if (rejection(blob, changed) === undefined && validate(blob, changed).identity !== undefined) {
      t.fail(`version ${version}`);
    }
  }
  t.pass();
});

t.test('G6: every change of one bit of a TPM 1.2 state is rejected, by its digest', async (t) => {
  for (const fixture of TPM12_FIXTURES) {
    const blob = readStateBlob(fixture);
    for (let at = 0; at < blob.data.length; at += 1) {
      const flipped = withBytes(blob.data, at, [(blob.data[at] ?? 0) ^ (1 << (at % 8))]);
      if (rejection(blob, flipped) === undefined) t.fail(`${fixture} at ${at}`);
    }
    t.pass(fixture);
  }
});

t.test(
  'G6: random damage is rejected as STATE_INVALID or harmless, and nothing else is ever thrown',
  async (t) => {
    const fixture = fc.constantFrom(...STATE_FIXTURES);
    const damage = fc.array(
      fc.record({ at: fc.nat(7000), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) }),
      {
        minLength: 1,
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(fixture, damage, (name, changes) => {
        const blob = readStateBlob(name);
        const data = blob.data.slice();
        for (const { at, bytes } of changes) {
          const start = at % data.length;
          data.set(bytes.subarray(0, data.length - start), start);
        }
        rejection(blob, data);
      }),
      { numRuns: 4000 },
    );
    t.pass();
  },
);

t.test('G6: bytes behind the end are rejected, whatever they are', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...STATE_FIXTURES),
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      (name, tail) => {
        const blob = readStateBlob(name);
        return rejection(blob, Uint8Array.from([...blob.data, ...tail])) !== undefined;
      },
    ),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('G6: bytes behind the end are rejected even when the total length was made to fit', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...STATE_FIXTURES),
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      (name, tail) => {
        const blob = readStateBlob(name);
        const longer = Uint8Array.from([...blob.data, ...tail]);
        return rejection(blob, withBytes(longer, 6, uint32(longer.length))) !== undefined;
      },
    ),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('G6: an entry length that points outside the file is rejected', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...STATE_FIXTURES),
      fc.integer({ min: 0, max: 0xffffffff }),
      (name, length) => {
        const blob = readStateBlob(name);
        const view = new DataView(blob.data.buffer);
        fc.pre(length !== view.getUint32(HEADER_BYTES + 2));
        return rejection(blob, withBytes(blob.data, HEADER_BYTES + 2, uint32(length))) !== undefined;
      },
    ),
    { numRuns: 2000 },
  );
  t.match(
    rejection(anyState, withBytes(anyState.data, HEADER_BYTES + 2, [255, 255, 255, 255])),
    /entry length 4294967295 at byte 12, expected at most 6428/,
  );
});

t.test('arbitrary files are rejected', async (t) => {
  fc.assert(
    fc.property(fc.constantFrom(...STATE_FIXTURES), fc.uint8Array({ maxLength: 300 }), (name, data) => {
      return rejection(readStateBlob(name), data) !== undefined;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('G6: a plain payload that no libtpms wrote is rejected, and the message names the byte', async (t) => {
  const magic = [0xab, 0x36, 0x47, 0x23];
  const tpm12 = readStateBlob('tpm12.permall');
  const cases: readonly (readonly [StateBlob, readonly number[], RegExp])[] = [
    [anyState, [], /payload version at byte 16: 0 of 2 bytes present/],
    [anyState, [0, 0, ...magic, ...magic], /payload version 0 at byte 16, expected at least 1/],
    [anyState, [0, 3, 0xab, 0x36], /first magic at byte 18: 2 of 4 bytes present/],
    [anyState, [0, 3, ...magic, 0, 3], /a payload of 8 bytes at byte 16, too short for two magics/],
    [
      anyState,
      [0, 3, ...magic, 0, 4, ...magic],
      /payload minimum version 4 at byte 22, expected 1 to the version, 3/,
    ],
    [anyState, [0, 3, ...magic, 0, 0, ...magic], /payload minimum version 0 at byte 22/],
    [anyState, [0, 3, ...magic, 0, 3, 1, 2, 3, 4], /last magic at byte 24 is not 0xab364723/],
    [tpm12, [0, 2, 0, 0x22], /format tag 2 at byte 16, expected 1/],
    [tpm12, [0, 1, 0, 0x23], /permanent data tag 35 at byte 18, expected 34/],
    [tpm12, [0, 1, 0, 0x22, 1, 2], /a payload of 6 bytes at byte 16, too short for its digest/],
  ];
  for (const [blob, payload, message] of cases) {
    t.match(rejection(blob, blobOf(0, [[1, Uint8Array.from(payload)]])), message);
  }
  t.match(
    rejection(readStateBlob('tpm12.savestate'), blobOf(0, [[1, new Uint8Array(40).fill(1)]])),
    /SHA-1 digest at byte 36/,
  );
});

t.test('no message carries a byte of state', async (t) => {
  const secret = new TextEncoder().encode('a-secret-of-the-tpm');
  const hex = Buffer.from(secret).toString('hex');
  const data = blobOf(0, [[1, secret]]);
  const messages = [rejection(anyState, data), rejection(readStateBlob('tpm12.permall'), data)];
  for (const message of messages) {
    t.type(message, 'string');
    t.notMatch(message, hex);
    t.notMatch(message, 'a-secret');
  }
});

t.test('an empty file and the linear backend get messages of their own', async (t) => {
  t.match(rejection(anyState, new Uint8Array()), /the file is empty; a power loss/);
  t.match(rejection(anyState, readStateBlob('linear.file').data), /linear file backend/);
});

/** The fault that the rejection tells. */
function faultOf(blob: StateBlob, data: Uint8Array): string | undefined {
  try {
    validate(blob, data);
    return undefined;
  } catch (error) {
    return stateFaultOf(error) ?? String(error);
  }
}

const TORN = ['torn', 'zeroed'];

t.test('torn: a file of any kind that was cut anywhere is known to be', async (t) => {
  for (const fixture of STATE_FIXTURES) {
    const blob = readStateBlob(fixture);
    for (let length = 0; length < blob.data.length; length += 1) {
      const fault = faultOf(blob, blob.data.subarray(0, length));
      if (fault !== 'torn') t.fail(`${fixture} cut to ${length} bytes: ${String(fault)}`);
    }
    t.pass(fixture);
  }
});

t.test('torn: a file whose newer header says that it is longer is cut all the same', async (t) => {
  const newer = withBytes(anyState.data, 0, [3]);
  for (const cut of [1, 700, newer.length - 11]) {
    t.equal(faultOf(anyState, newer.subarray(0, newer.length - cut)), 'torn', String(cut));
  }
  const unreadable = withBytes(newer, 1, [3]);
  t.equal(faultOf(anyState, unreadable.subarray(0, 900)), 'not-understood', 'nobody knows its length');
});

t.test('zeroed: what never reached the disk is zeros, from anywhere to the end', async (t) => {
  for (const fixture of [...PLAIN_TPM2_FIXTURES, ...ENCRYPTED_FIXTURES, ...TPM12_FIXTURES]) {
    const blob = readStateBlob(fixture);
    for (let from = FLAGS_AT; from <= blob.data.length - 16; from += 1) {
      const fault = faultOf(blob, blob.data.slice().fill(0, from));
      if (fault !== 'zeroed') t.fail(`${fixture} zeroed from byte ${from}: ${String(fault)}`);
    }
    t.equal(faultOf(blob, new Uint8Array(blob.data.length)), 'zeroed', fixture);
  }
});

t.test('G5: what this version does not know is never called torn or damaged', async (t) => {
  const blobs = fc.constantFrom(...STATE_FIXTURES).map(readStateBlob);
  const changes: readonly [string, number, fc.Arbitrary<number>][] = [
    ['a newer version', 0, fc.integer({ min: 3, max: 255 })],
    ['version 1, which swtpm still reads', 0, fc.constant(1)],
    ['a newer minimum version', 1, fc.integer({ min: 2, max: 255 })],
    ['a larger header', 3, fc.integer({ min: 11, max: 255 })],
    ['unknown flags', 4, fc.integer({ min: 1, max: 255 })],
    ['unknown low flags', 5, fc.constantFrom(0x20, 0x40, 0x80, 0xff)],
  ];
  for (const [what, at, values] of changes) {
    fc.assert(
      fc.property(blobs, values, (blob, value) => {
        const flags = at === 5 ? (blob.data[5] ?? 0) | value : value;
        t.equal(faultOf(blob, withBytes(blob.data, at, [flags])), 'not-understood', what);
      }),
      { numRuns: 30 },
    );
  }
});

t.test('G5: an entry of a kind that is not known is not understood', async (t) => {
  for (const tag of [8, 9, 255]) {
    const data = blobOf(0, [
      [1, Uint8Array.of(1)],
      [tag, Uint8Array.of(1, 2)],
    ]);
    t.equal(faultOf(anyState, data), 'not-understood', String(tag));
  }
});

t.test('G5: no arbitrary content of a known length is ever called torn', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 10, maxLength: 200 }), (body) => {
      body.set([...uint32(body.length)], 6);
      body.set([1], body.length - 1);
      t.notOk(TORN.includes(faultOf(anyState, body) ?? ''));
    }),
  );
});

t.test('the profile of a TPM of libtpms 0.10 is told, and nothing else that stands there', async (t) => {
  const magic = [0xab, 0x36, 0x47, 0x23];
  const withProfile = (version: number, json: string): BlobInfo => {
    const profile = [...Buffer.from(json), 0];
    const payload = [0, version, ...magic, 0, version, 0, profile.length, ...profile, 1, 2, 3, ...magic];
    return validate(anyState, blobOf(0, [[1, Uint8Array.from(payload)]]));
  };
  t.match(withProfile(4, '{"Name":"default-v1","StateFormatLevel":7,"Commands":"0x11f"}').libtpms, {
    payloadVersion: 4,
    minVersion: 4,
    profile: { name: 'default-v1', stateFormatLevel: 7 },
  });
  for (const odd of ['', '{', '[]', 'null', '{"Name":7}', '{"Name":"a b"}', '{"Name":""}']) {
    t.equal(withProfile(4, odd).libtpms?.profile, undefined, odd);
  }
  const levels = [0, -1, 1.5, 'x'].map((level) => JSON.stringify({ Name: 'a', StateFormatLevel: level }));
  for (const odd of levels) t.strictSame(withProfile(5, odd).libtpms?.profile, { name: 'a' }, odd);
});

t.test('a migration stream is not a state file', async (t) => {
  const stream = blobOf(0x04, [[4, blobOf(0, [[1, anyState.data]]).subarray(HEADER_BYTES)]]);
  t.match(rejection(anyState, stream), /flags 0x0004 at byte 4 are those of a migration stream/);
});

t.test('a newer container says that this program is too old', async (t) => {
  const newer = withBytes(anyState.data, 0, [3]);
  const expected = { code: 'STATE_NOT_UNDERSTOOD', next: /upgrade swtpm-mirror/ };
  t.throws(() => validate(anyState, newer), expected);
  const unknownFlag = withBytes(anyState.data, 4, [0x01]);
  t.throws(() => validate(anyState, unknownFlag), expected);
});

t.test(
  'encrypted state needs its data, HMAC and IV, each once and of the size that the key gives',
  async (t) => {
    const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7);
    const whole = [
      [2, bytes(64)],
      [3, bytes(32)],
      [6, bytes(32)],
    ] as const;
    const [data, hmac, iv] = whole;
    t.equal(rejection(anyState, blobOf(0x09, whole)), undefined);
    t.equal(
      rejection(anyState, blobOf(0x09, [iv, hmac, data])),
      undefined,
      'order does not matter, as for swtpm',
    );
    t.match(rejection(anyState, blobOf(0x09, [data, iv])), /no entry HMAC \(tag 3\)/);
    t.match(rejection(anyState, blobOf(0x09, [data, hmac])), /no entry IV \(tag 6\)/);
    t.match(rejection(anyState, blobOf(0x09, [hmac, iv])), /no entry encrypted data \(tag 2\)/);
    t.match(rejection(anyState, blobOf(0x09, [...whole, iv])), /a second entry with tag 6/);
    t.match(
      rejection(anyState, blobOf(0x09, [...whole, [1, bytes(4)]])),
      /an entry with tag 1, expected encrypted/,
    );
    t.match(rejection(anyState, blobOf(0x01, whole)), /an IV of 32 bytes at byte 124, expected 16/);
    t.match(rejection(anyState, blobOf(0x09, [[2, bytes(48)], hmac, iv])), /48 bytes of encrypted data/);
    t.match(rejection(anyState, blobOf(0x09, [[2, bytes(0)], hmac, iv])), /0 bytes of encrypted data/);
    t.match(rejection(anyState, blobOf(0x09, [data, [3, bytes(20)], iv])), /an HMAC of 20 bytes/);
    t.match(rejection(anyState, blobOf(0x08, whole)), /flags 0x0008 at byte 4 name a key but not encryption/);
    t.match(rejection(anyState, blobOf(0, whole)), /an entry with tag 2, expected data \(tag 1\) alone/);
  },
);

t.test('a save state of a TPM 2, which libtpms never writes, is held to the container alone', async (t) => {
  const data = blobOf(0, [[1, Uint8Array.of(1, 2, 3)]]);
  t.strictSame(validateStateFile('tpm2', 'tpm2-00.savestate', data), {
    encryption: 'none',
    selfValidating: false,
  });
});

t.test('only the state files of the role are validated', async (t) => {
  for (const [role, name] of [
    ['tpm2', 'tpm-00.permall'],
    ['tpm1.2', 'tpm2-00.permall'],
    ['tpm2', 'tpm2-00.volatilestate'],
    ['tpm2', '../../etc/shadow'],
  ] as const) {
    t.throws(
      () => validateStateFile(role, name, anyState.data),
      { code: 'STATE_INVALID' },
      `${role} ${name}`,
    );
  }
});

t.test('a file of the largest size is validated in linear time', async (t) => {
  const payloadAt = HEADER_BYTES + FIRST_ENTRY_BYTES;
  const data = new Uint8Array(STATE_FILE_BYTES_MAX);
  data.set(anyState.data.subarray(0, payloadAt + 8));
  data.set(uint32(data.length), 6);
  data.set(uint32(data.length - payloadAt), HEADER_BYTES + 2);
  data.set([0xab, 0x36, 0x47, 0x23], data.length - 4);
  const emptyEntries = new Uint8Array(STATE_FILE_BYTES_MAX);
  emptyEntries.set(data.subarray(0, HEADER_BYTES));
  emptyEntries.set([1], STATE_FILE_BYTES_MAX - 1);
  const started = process.hrtime.bigint();
  t.equal(validate(anyState, data).encryption, 'none');
  t.match(rejection(anyState, emptyEntries), /a second entry with tag 0 at byte 16/);
  t.ok(process.hrtime.bigint() - started < 500_000_000n, 'two files of 16 MiB in less than half a second');
});
