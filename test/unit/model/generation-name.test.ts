import fc from 'fast-check';
import t from 'tap';
import type { FileRole } from '../../../src/model/capture.js';
import {
  contentPrefixes,
  formatGenerationName,
  formatSlot,
  hasTpmOf,
  parseGenerationName,
  parseSlot,
  SLOT_MAX,
} from '../../../src/model/generation-name.js';

import { contentDigest, tpmDigest } from '../../../src/model/hash.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { anyGenerationName, anyHex, anyText } from '../../fixtures/log-arbitraries.js';

const NAME = '00000041-e00000036-kvm-a-90ad17c2b1e4f603-5fb1c0d3a2b49e87.tar.gz';
const ANY = { slot: 41, epoch: 36, host: parseHostName('kvm-a'), nonce: '0'.repeat(16) };
const STATE_FILES = ['tpm2/tpm2-00.permall', 'tpm2/tpm2-00.savestate', 'nvram/nvram.fd'] as const;

/** Of a state whose files have these SHA-256. */
function digestsOf(state: Partial<Record<string, string>>): { digest: string; tpmDigest: string } {
  const files = Object.entries(state).map(([path, sha256 = '']) => {
    const [role = '', name = ''] = path.split('/');
    return { role: role as FileRole, name, sha256 };
  });
  return { digest: contentDigest(files), tpmDigest: tpmDigest(files) };
}

t.test('a name says slot, epoch, host, content and nonce', async (t) => {
  t.strictSame(parseGenerationName(NAME), {
    slot: 41,
    epoch: 36,
    host: 'kvm-a',
    digestPrefix: '90ad17c2b1e4f603',
    nonce: '5fb1c0d3a2b49e87',
  });
});

t.test('a name tells the TPM alone, where the state has more than a TPM', async (t) => {
  const tpm = NAME.replace('-5fb1', '-t77ab01c2d3e4f506-5fb1');
  t.match(parseGenerationName(tpm), {
    host: 'kvm-a',
    digestPrefix: '90ad17c2b1e4f603',
    tpmDigestPrefix: '77ab01c2d3e4f506',
    nonce: '5fb1c0d3a2b49e87',
  });
});

t.test('a listing tells the TPM that a generation has, whatever NVRAM stands beside it', async (t) => {
  const files = fc.dictionary(fc.constantFrom(...STATE_FILES), anyHex(64), { minKeys: 1 });
  fc.assert(
    fc.property(files, files, (one, other) => {
      const published = digestsOf(one);
      const name = { ...ANY, ...contentPrefixes(published) };
      t.equal(hasTpmOf(name, published), true);
      t.equal(name.tpmDigestPrefix !== undefined, 'nvram/nvram.fd' in one);
      t.equal(hasTpmOf(name, digestsOf(other)), digestsOf(other).tpmDigest === published.tpmDigest);
    }),
  );
});

t.test('of a name of version 0.1.0 with NVRAM only the whole content is known', async (t) => {
  const pair = { 'tpm2/tpm2-00.permall': 'a'.repeat(64), 'nvram/nvram.fd': 'b'.repeat(64) };
  const digests = digestsOf(pair);
  const { digestPrefix } = contentPrefixes(digests);
  const name = { ...ANY, digestPrefix };
  t.equal(hasTpmOf(name, digests), true, 'the same pair');
  const other = digestsOf({ ...pair, 'nvram/nvram.fd': 'c'.repeat(64) });
  t.equal(hasTpmOf(name, other), false, 'the same TPM beside another NVRAM: not told, so no yes');
});

t.test(
  'a name comes back as it was written, also where the host is named like another part of it',
  async (t) => {
    fc.assert(
      fc.property(anyGenerationName(), (name) => {
        t.strictSame(parseGenerationName(formatGenerationName(name)), name);
      }),
    );
  },
);

t.test('the order of names is the order of slots, so that `ls` tells the history', async () => {
  fc.assert(
    fc.property(
      anyGenerationName(),
      anyGenerationName(),
      (a, b) => a.slot === b.slot || formatGenerationName(a) < formatGenerationName(b) === a.slot < b.slot,
    ),
  );
});

t.test('a diverged copy of a host that had no claim has a name that is found again', async (t) => {
  const name = parseGenerationName(NAME.replace('e00000036', 'e00000000').replace('00000041', '00000001'));
  t.match(name, { slot: 1, epoch: 0 });
});

t.test('anything else is no generation', async (t) => {
  const wrong = [
    '',
    `../${NAME}`,
    `${NAME}\n`,
    `.tmp-${NAME}`,
    NAME.replace('00000041', '00000036'),
    NAME.replace('00000041', '00000000'),
    NAME.replace('00000041', '000000041'),
    NAME.replace('kvm-a', ''),
    NAME.replace('kvm-a', '..'),
    NAME.replace('kvm-a', 'kvm/a'),
    NAME.replace('kvm-a', 'KVM'),
    NAME.replace('kvm-a', 'a'.repeat(64)),
    NAME.replace('90ad', '90AD'),
    NAME.replace('.tar.gz', '.tar'),
    NAME.replace('.', 'x'),
  ];
  for (const text of wrong) t.equal(parseGenerationName(text), undefined, text);
  fc.assert(fc.property(anyText(), (text) => parseGenerationName(text) === undefined));
});

t.test('slots: eight digits from 1', async (t) => {
  t.equal(formatSlot(41), '00000041');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: SLOT_MAX }), (slot) => parseSlot(formatSlot(slot)) === slot),
  );
  for (const name of [
    '00000000',
    '0000041',
    '000000041',
    '+0000041',
    '0000004x',
    ' 0000041',
    '00000041\n',
    '',
  ]) {
    t.equal(parseSlot(name), undefined, JSON.stringify(name));
  }
});

t.test('G4: a slot that no reader would see is never written', async (t) => {
  t.equal(parseSlot(formatSlot(SLOT_MAX)), SLOT_MAX);
  for (const slot of [SLOT_MAX + 1, -1, 1.5, NaN]) {
    t.throws(() => formatSlot(slot), { code: 'INTERNAL' }, String(slot));
  }
});
