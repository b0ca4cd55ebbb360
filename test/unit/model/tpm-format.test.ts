/** Which libtpms can read a TPM's state, from the version and the profile that it bears. */
import fc from 'fast-check';
import t from 'tap';
import {
  formatText,
  isReadEverywhere,
  isTooNewFor,
  parseLibtpmsVersion,
  tpmFormat,
} from '../../../src/model/tpm-format.js';
import type { Tpm2Payload } from '../../../src/model/tpm2-payload.js';
import { captureOf } from '../../fixtures/share-calls.js';

function payload(minVersion: number, stateFormatLevel?: number): Tpm2Payload {
  const profile = { name: 'default-v1', ...(stateFormatLevel !== undefined && { stateFormatLevel }) };
  return { payloadVersion: minVersion, minVersion, ...(minVersion >= 4 && { profile }) };
}

function version(text: string): NonNullable<ReturnType<typeof parseLibtpmsVersion>> {
  const parsed = parseLibtpmsVersion(text);
  if (!parsed) throw new Error(`expected a version: ${text}`);
  return parsed;
}

for (const [format, libtpms, isTooNew] of [
  [payload(1), '0.7.0', false],
  [payload(3), '0.9.2', false],
  [payload(4), '0.9.2', true],
  [payload(4, 1), '0.9.6', true],
  [payload(4, 1), '0.10.0', false],
  [payload(4, 7), '0.10.2', false],
  [payload(4, 8), '0.10.2', true],
  [payload(5, 1), '0.10.0', true],
  [payload(5, 9), '0.11.0', false],
  [payload(9, 99), '1.0.0', false],
] as const) {
  t.test(`${formatText(format)} on libtpms ${libtpms}: ${isTooNew ? 'refused' : 'started'}`, (t) => {
    t.equal(isTooNewFor(format, version(libtpms)), isTooNew);
    t.end();
  });
}

t.test('a newer libtpms never reads less than an older one', (t) => {
  const anyFormat = fc
    .tuple(fc.integer({ min: 1, max: 6 }), fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined }))
    .map(([minVersion, level]) => payload(minVersion, level));
  const anyVersion = fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 13 }));
  fc.assert(
    fc.property(anyFormat, anyVersion, anyVersion, (format, one, other) => {
      const [older, newer] = [one, other].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      const isTooNew = (it = one): boolean => isTooNewFor(format, version(`${it[0]}.${it[1]}.0`));
      return (!isTooNew(newer) || isTooNew(older)) && (!isReadEverywhere(format) || !isTooNew(older));
    }),
  );
  t.end();
});

t.test('a version is two or three numbers, and nothing else', (t) => {
  t.match(parseLibtpmsVersion('0.9.2'), { major: 0, minor: 9, text: '0.9.2' });
  t.match(parseLibtpmsVersion('1.12'), { major: 1, minor: 12 });
  for (const odd of ['', '9', '0.9.2.1', '0.9-dev', 'v0.9.2', '0. 9', '99999.1']) {
    t.equal(parseLibtpmsVersion(odd), undefined, odd);
  }
  t.end();
});

t.test('the format of a real state is read; of what is not understood it is not known', (t) => {
  t.match(tpmFormat(captureOf('a')), { payloadVersion: 3, minVersion: 3 });
  t.equal(tpmFormat({ files: [] }), undefined);
  t.end();
});
