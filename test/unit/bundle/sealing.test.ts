/**
 * Sealed bundles with the real library: what opens them, what does not, and what is told without a key.
 */
import { generateHybridIdentity, generateIdentity, identityToRecipient } from 'age-encryption';
import t, { type Test } from 'tap';
import { encodeBundle } from '../../../src/bundle/archive.js';
import { readSealedHeader } from '../../../src/bundle/age-header.js';
import {
  ageSealing,
  isSealed,
  isSealedFor,
  recipientSetOf,
  unsealed,
  type Sealing,
} from '../../../src/bundle/sealing.js';
import { asMirrorError } from '../../../src/model/errors.js';
import { openArchive } from '../../../src/volume/fetch.js';
import * as age from '../../../src/wiring/age-library.js';
import { CAPTURE, MANIFEST } from './fixtures/bundles.js';

const BUNDLE = await encodeBundle(MANIFEST, CAPTURE);
const [OWN, OTHER, THIRD] = await Promise.all([keyPair(), keyPair(), keyPair()]);

interface KeyPair {
  readonly identity: string;
  readonly recipient: string;
}

async function keyPair(identity: Promise<string> = generateIdentity()): Promise<KeyPair> {
  return { identity: await identity, recipient: await identityToRecipient(await identity) };
}

function sealing(recipients: readonly KeyPair[], identities: readonly KeyPair[] = recipients): Sealing {
  const keys = {
    recipients: recipients.map(({ recipient }) => recipient),
    identities: identities.map(({ identity }) => identity),
  };
  return ageSealing(keys, () => Promise.resolve(age));
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'opened',
    (error: unknown) => asMirrorError(error).code,
  );
}

t.test('what was sealed for several opens for each of them, byte for byte', async (t) => {
  const sealed = await sealing([OWN, OTHER]).seal(BUNDLE);
  t.ok(isSealed(sealed));
  t.notOk(Buffer.from(sealed).includes(Buffer.from(BUNDLE.subarray(20, 60))), 'the content does not show');
  for (const key of [OWN, OTHER]) {
    t.ok(Buffer.from(await sealing([], [THIRD, key]).open(sealed)).equals(BUNDLE));
  }
  t.equal(readSealedHeader(sealed).note?.plainBytes, BUNDLE.length);
});

t.test('a post-quantum key is one like any other', async (t) => {
  const hybrid = await keyPair(generateHybridIdentity());
  const sealed = await sealing([hybrid, OWN]).seal(BUNDLE);
  t.ok(Buffer.from(await sealing([], [hybrid]).open(sealed)).equals(BUNDLE));
});

t.test('equal bundles sealed twice are not equal, and their set of recipients is', async (t) => {
  const [one, other] = [await sealing([OWN, OTHER]).seal(BUNDLE), await sealing([OTHER, OWN]).seal(BUNDLE)];
  t.notOk(Buffer.from(one).equals(other));
  const set = recipientSetOf([OTHER.recipient, OWN.recipient]);
  t.ok(isSealedFor(one, set) && isSealedFor(other, set));
  t.notOk(isSealedFor(one, recipientSetOf([OWN.recipient])));
  t.notOk(isSealedFor(one, undefined));
  t.ok(isSealedFor(BUNDLE, undefined) && !isSealedFor(BUNDLE, set), 'a plain one is for nobody');
});

t.test('without a key for it, it is said that the key is missing, and nothing of any key', async (t) => {
  const sealed = await sealing([OWN]).seal(BUNDLE);
  for (const keyless of [sealing([OTHER]), sealing([OWN], []), sealing([OWN], [OTHER]), undefined]) {
    const error = asMirrorError(await unsealed(sealed, keyless).catch((cause: unknown) => cause));
    t.match(error, { code: 'KEY_MISSING', exitStatus: 3 });
    t.match(error.message, recipientSetOf([OWN.recipient]));
    t.match(error.next, /encryption\.identity_file/);
    t.notMatch(`${error.message}${error.next}${String(error.stack)}`, /AGE-SECRET-KEY/);
  }
});

t.test('plain bundles pass as they are, with keys and without', async (t) => {
  t.equal(await unsealed(BUNDLE, undefined), BUNDLE);
  t.equal(await unsealed(BUNDLE, sealing([OWN])), BUNDLE);
  t.equal(await sealing([], [OWN]).seal(BUNDLE), BUNDLE, 'who has no recipients writes in the clear');
});

for (const [which, own] of [
  ['with every key', sealing([OWN, OTHER])],
  // A change of its one stanza looks to the library like a file for others.
  ['with one of two keys', sealing([OWN, OTHER], [OWN])],
] as const) {
  t.test(`no changed byte is ever opened, nor taken for a missing key: ${which}`, (t) => noneOpens(t, own));
}

async function noneOpens(t: Test, own: Sealing): Promise<void> {
  const sealed = await own.seal(BUNDLE);
  const headerBytes = Buffer.from(sealed).indexOf('\n--- ') + 50;
  const step = Math.ceil((sealed.length - headerBytes) / 200);
  for (let at = 0; at < sealed.length; at += at < headerBytes ? 1 : step) {
    const changed = Uint8Array.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const code = await codeOf(openArchive({ sealing: own }, changed));
    if (code !== 'GENERATION_DAMAGED') t.fail(`${code} with byte ${String(at)} changed`);
  }
  t.pass('every one of them is damage');
}

t.test('what was cut short or grew is damage, with and without a key', async (t) => {
  const sealed = await sealing([OWN]).seal(BUNDLE);
  const longer = Buffer.concat([sealed, new Uint8Array(1)]);
  for (const length of [22, 30, 100, sealed.length - 1, sealed.length - 17]) {
    const cut = sealed.subarray(0, length);
    t.equal(await codeOf(unsealed(cut, undefined)), 'GENERATION_DAMAGED', `${String(length)} bytes`);
    t.equal(await codeOf(unsealed(cut, sealing([OWN]))), 'GENERATION_DAMAGED');
  }
  t.equal(await codeOf(unsealed(longer, undefined)), 'GENERATION_DAMAGED');
});

t.test(
  'what another age program sealed opens, too; without a key its structure is all that is checked',
  async (t) => {
    const encrypter = new age.Encrypter();
    encrypter.addRecipient(OWN.recipient);
    const sealed = await encrypter.encrypt(BUNDLE);
    t.strictSame(readSealedHeader(sealed), { note: undefined });
    t.ok(Buffer.from(await sealing([OTHER], [OWN]).open(sealed)).equals(BUNDLE));
    t.equal(await codeOf(unsealed(sealed, undefined)), 'KEY_MISSING');
    t.equal(
      await codeOf(unsealed(sealed.subarray(0, readEnd(sealed) + 20), undefined)),
      'GENERATION_DAMAGED',
    );
  },
);

function readEnd(sealed: Uint8Array): number {
  const text = Buffer.from(sealed).toString('latin1');
  return text.indexOf('\n', text.indexOf('\n--- ') + 1) + 1;
}

t.test('a mistyped recipient or a cut identity is refused, and the identity is not repeated', async (t) => {
  const wrong = {
    ...OWN,
    recipient: `${OWN.recipient.slice(0, -1)}${OWN.recipient.endsWith('q') ? 'p' : 'q'}`,
  };
  t.equal(await codeOf(sealing([wrong]).seal(BUNDLE)), 'KEY_UNUSABLE');
  const cut = { ...OWN, identity: OWN.identity.slice(0, -3) };
  const sealed = await sealing([OWN]).seal(BUNDLE);
  const error = asMirrorError(
    await sealing([OWN], [cut])
      .open(sealed)
      .catch((cause: unknown) => cause),
  );
  t.equal(error.code, 'KEY_UNUSABLE');
  t.notMatch(`${error.message}${error.next}`, cut.identity.slice(0, 24));
});

t.test('a host knows whether it opens what it writes', async (t) => {
  t.equal(await sealing([OWN, OTHER], [OTHER]).opensItsOwn(), true);
  t.equal(await sealing([OWN], [OTHER]).opensItsOwn(), false);
  t.equal(await sealing([OWN], []).opensItsOwn(), false);
});
