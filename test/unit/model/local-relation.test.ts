import t from 'tap';
import type { FileRole } from '../../../src/model/capture.js';
import { contentDigest, sha256, tpmDigest } from '../../../src/model/hash.js';
import { contentPrefixes } from '../../../src/model/generation-name.js';
import { relateToHead, type RelationFacts } from '../../../src/model/local-relation.js';

type Files = RelationFacts['local']['files'];

function file(role: FileRole, content: string, mtimeNs: bigint): Files[number] {
  return { role, name: role === 'nvram' ? 'nvram.fd' : 'tpm2-00.permall', sha256: sha256(content), mtimeNs };
}

function state(...files: Files): RelationFacts['local'] {
  return { digest: contentDigest(files), files };
}

const HEAD = state(file('nvram', 'vars', 50n), file('tpm2', 'tpm', 50n));

function relate(
  local: RelationFacts['local'],
  facts: Partial<RelationFacts> & { headBootId?: string } = {},
): string {
  const { headBootId = 'boot-1', ...rest } = facts;
  return relateToHead({
    local,
    head: { ...HEAD, bootId: headBootId },
    headIsOwn: true,
    publishedBefore: [],
    bootId: 'boot-2',
    ...rest,
  });
}

t.test('same: equal content, whoever published it and whenever it was written', async (t) => {
  const local = state(file('nvram', 'vars', 1n), file('tpm2', 'tpm', 99n));
  t.equal(relate(local), 'same');
  t.equal(
    relate(local, { headIsOwn: false, publishedBefore: [{ digestPrefix: HEAD.digest.slice(0, 16) }] }),
    'same',
  );
});

t.test('older: content that was published before the head, whatever the times say', async (t) => {
  const local = state(file('nvram', 'vars', 99n), file('tpm2', 'before', 99n));
  const publishedBefore = [{ digestPrefix: '0'.repeat(16) }, { digestPrefix: local.digest.slice(0, 16) }];
  t.equal(relate(local, { publishedBefore }), 'older');
  t.equal(relate(local, { publishedBefore, headIsOwn: false }), 'older');
  t.equal(relate(local, { publishedBefore, bootId: 'boot-1' }), 'older');
});

t.test('unknown: the times of two hosts are not compared', async (t) => {
  const local = state(file('nvram', 'vars', 50n), file('tpm2', 'else', 99n));
  t.equal(relate(local, { headIsOwn: false }), 'unknown');
  t.equal(relate(local, { headIsOwn: false, bootId: 'boot-1' }), 'unknown');
});

t.test('newer: within the boot that published the head, whatever differs was written after it', async (t) => {
  t.equal(relate(state(file('nvram', 'vars', 50n), file('tpm2', 'else', 1n)), { bootId: 'boot-1' }), 'newer');
  t.equal(relate(state(file('tpm2', 'tpm', 50n)), { bootId: 'boot-1' }), 'newer');
});

t.test('a boot that is not known is no boot in common', async (t) => {
  const local = state(file('nvram', 'vars', 50n), file('tpm2', 'else', 1n));
  t.equal(relate(local, { bootId: '', headBootId: '' }), 'older');
});

t.test('after a reboot the times of the same file tell', async (t) => {
  t.equal(relate(state(file('nvram', 'vars', 50n), file('tpm2', 'else', 51n))), 'newer');
  t.equal(relate(state(file('nvram', 'vars', 50n), file('tpm2', 'else', 49n))), 'older');
});

t.test(
  'after a reboot the TPM outweighs the NVRAM, and the NVRAM decides where the TPM is equal',
  async (t) => {
    t.equal(relate(state(file('nvram', 'other', 99n), file('tpm2', 'else', 49n))), 'older');
    t.equal(relate(state(file('nvram', 'other', 1n), file('tpm2', 'else', 51n))), 'newer');
    t.equal(relate(state(file('nvram', 'other', 51n), file('tpm2', 'tpm', 1n))), 'newer');
    t.equal(relate(state(file('nvram', 'other', 49n), file('tpm2', 'tpm', 99n))), 'older');
  },
);

t.test('G5: two contents of one time have no order', async (t) => {
  t.equal(relate(state(file('nvram', 'vars', 50n), file('tpm2', 'else', 50n))), 'unknown');
});

t.test(
  'G4: a state that only lacks a file, or has one more, is not the same and shows no order',
  async (t) => {
    t.equal(relate(state(file('tpm2', 'tpm', 50n))), 'unknown');
    const savestate = { ...file('tpm2', 'more', 99n), name: 'tpm2-00.savestate' };
    t.equal(relate(state(...HEAD.files, savestate)), 'unknown');
  },
);

t.test('files of one TPM that point both ways show no order', async (t) => {
  const head = [file('tpm2', 'tpm', 50n), { ...file('tpm2', 'saved', 50n), name: 'tpm2-00.savestate' }];
  const local = state(file('tpm2', 'else', 51n), {
    ...file('tpm2', 'other', 49n),
    name: 'tpm2-00.savestate',
  });
  t.equal(relate(local, { head: { ...state(...head), bootId: 'boot-1' } }), 'unknown');
});

t.test('G4: a TPM that was published before is older, whatever NVRAM stands beside it', async (t) => {
  const published = state(file('nvram', 'vars', 10n), file('tpm2', 'before', 10n));
  const publishedBefore = [
    contentPrefixes({ digest: published.digest, tpmDigest: tpmDigest(published.files) }),
  ];
  for (const nvram of ['vars', 'newer vars', 'else']) {
    for (const mtimeNs of [1n, 99n]) {
      const local = state(file('nvram', nvram, mtimeNs), file('tpm2', 'before', mtimeNs));
      for (const bootId of ['boot-1', 'boot-2']) {
        t.equal(relate(local, { publishedBefore, bootId }), 'older', `${nvram} ${mtimeNs} ${bootId}`);
      }
      const alone = state(file('tpm2', 'before', mtimeNs));
      t.equal(relate(alone, { publishedBefore, headIsOwn: false }), 'older');
    }
  }
});

t.test("the head's own TPM is not older for having been published before, too", async (t) => {
  const tpm = tpmDigest(HEAD.files);
  const publishedBefore = [{ digestPrefix: '0'.repeat(16), tpmDigestPrefix: tpm.slice(0, 16) }];
  const local = state(file('nvram', 'edited', 99n), file('tpm2', 'tpm', 50n));
  t.equal(relate(local, { publishedBefore, bootId: 'boot-1' }), 'newer');
});
