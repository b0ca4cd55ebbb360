import fc from 'fast-check';
import t from 'tap';
import {
  compareStateFiles,
  digestText,
  isStateFileName,
  isTpmRole,
  STATE_FILE_NAMES,
  type FileRole,
} from '../../../src/model/capture.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';

const ROLES: readonly FileRole[] = ['tpm2', 'tpm1.2', 'nvram'];
const files = fc.uniqueArray(
  fc.record({
    role: fc.constantFrom(...ROLES),
    name: fc.constantFrom('tpm2-00.permall', 'tpm-00.permall', 'nvram.fd'),
    sha256: fc.constantFrom(sha256('a'), sha256('b')),
  }),
  { maxLength: 5, selector: ({ role, name }) => `${role}/${name}` },
);

t.test(
  'the digest does not depend on the order of files, nor on anything but role, name and content',
  async (t) => {
    fc.assert(
      fc.property(
        files.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
        ),
        ([list, shuffled]) => contentDigest(list) === contentDigest(shuffled),
      ),
    );
    const file = { role: 'tpm2', name: 'tpm2-00.permall', sha256: sha256('a') } as const;
    t.equal(contentDigest([file]), contentDigest([{ ...file, mode: 0o600, mtimeNs: 7n } as typeof file]));
    t.not(contentDigest([file]), contentDigest([{ ...file, sha256: sha256('b') }]));
    t.not(contentDigest([file]), contentDigest([{ ...file, role: 'nvram' }]));
    t.not(contentDigest([file]), contentDigest([{ ...file, name: 'tpm2-00.savestate' }]));
  },
);

t.test('the digest can be made by hand: sorted lines of `role/name sha256`', async (t) => {
  const text = digestText([
    { role: 'tpm2', name: 'tpm2-00.permall', sha256: 'ff' },
    { role: 'nvram', name: 'nvram.fd', sha256: '00' },
  ]);
  t.equal(text, 'nvram/nvram.fd 00\ntpm2/tpm2-00.permall ff\n');
  t.equal(contentDigest([]), sha256(''));
  t.match(sha256(new Uint8Array([1])), /^[0-9a-f]{64}$/);
});

t.test('files have one order', async () => {
  fc.assert(
    fc.property(files, (list) => {
      const sorted = [...list].sort(compareStateFiles);
      return sorted.every((file, at) => at === 0 || compareStateFiles(sorted[at - 1]!, file) <= 0);
    }),
  );
});

t.test('only the files that make up a state are part of one', async (t) => {
  for (const role of ROLES) {
    const own = isTpmRole(role) ? STATE_FILE_NAMES[role] : ['nvram.fd'];
    for (const name of own) t.ok(isStateFileName(role, name), `${role} ${name}`);
    for (const name of ['.lock', 'TMP2-00.permall', 'tpm2-00.volatilestate', '../tpm2-00.permall', '']) {
      t.notOk(isStateFileName(role, name), `${role} ${name}`);
    }
  }
  t.notOk(isStateFileName('tpm1.2', 'tpm2-00.permall'));
  t.notOk(isStateFileName('nvram', 'tpm2-00.permall'));
});
