/**
 * sealing: bundles encrypted at rest, and opened again.
 *
 * A sealed bundle is an age file with the tar.gz in it: `age -d -i KEY FILE | tar xz` opens it without this program. Who seals needs the
 * recipients alone; who opens needs one of their identities. A share can hold sealed and plain bundles side by side.
 *
 * I1 Nothing that was changed is opened: age authenticates header and content.
 * I2 A key that is missing is never taken for damage, nor damage for a missing key, where this host's own keys belong to the set of
 *    recipients that the bundle names.
 * I3 Where there are recipients, what lies in the clear is refused, unless the operator accepts it for
 *    a change-over: whoever can write to the share, and knows no key, could have put it there.
 * Not given: a proof of who sealed. Whoever knows the recipients can.
 */
import { MirrorError } from '../model/errors.js';
import { sha256 } from '../model/hash.js';
import { BUNDLE_BYTES_MAX } from './archive.js';
import {
  isSealed,
  noteArguments,
  readSealedHeader,
  RECIPIENT_SET_DIGITS,
  type SealNote,
} from './age-header.js';
import { damaged } from './damaged.js';

export { isSealed } from './age-header.js';

const SEALING_OVERHEAD_BYTES_MAX = 512 * 1024;
/** Largest file that is read as a bundle, sealed or not. */
export const SEALED_BYTES_MAX = BUNDLE_BYTES_MAX + SEALING_OVERHEAD_BYTES_MAX;

/** What a bundle is sealed for and opened with, as text: age's own forms. */
export interface SealingKeys {
  /** `age1…`; none: bundles are written in the clear. */
  readonly recipients: readonly string[];
  /** `AGE-SECRET-KEY-…`: secret. None: nothing sealed can be opened. */
  readonly identities: readonly string[];
  /** With recipients: bundles in the clear are read all the same. @default false */
  readonly acceptPlain?: boolean;
}

interface Stanza {
  readonly args: string[];
  readonly body: Uint8Array;
}

/** As much of the package `age-encryption` as is used. */
export interface AgeLibrary {
  readonly Encrypter: new () => {
    addRecipient(recipient: string | { wrapFileKey(fileKey: Uint8Array): Stanza[] }): void;
    encrypt(data: Uint8Array): Promise<Uint8Array>;
  };
  readonly Decrypter: new () => {
    addIdentity(identity: string): void;
    decrypt(data: Uint8Array): Promise<Uint8Array>;
  };
  readonly Stanza: new (args: string[], body: Uint8Array) => Stanza;
  identityToRecipient(identity: string): Promise<string>;
}

export interface Sealing {
  readonly recipients: readonly string[];
  /** Of what this host writes; `undefined` when that is plain. */
  readonly recipientSet: string | undefined;
  /** Whether what lies on the share in the clear may be used. */
  readonly acceptsPlain: boolean;
  /** The bundle as it goes to the share. @throws MirrorError `KEY_UNUSABLE` */
  seal(bundle: Uint8Array): Promise<Uint8Array>;
  /** The bundle as it was before. @throws MirrorError `KEY_MISSING`, `KEY_UNUSABLE`, `GENERATION_DAMAGED` */
  open(sealed: Uint8Array): Promise<Uint8Array>;
  /** Whether this host opens what it seals. @throws MirrorError `KEY_UNUSABLE` */
  opensItsOwn(): Promise<boolean>;
}

/** @param load the library, which is loaded at the first use: a host that stores in the clear never pays for it */
export function ageSealing(keys: SealingKeys, load: () => Promise<AgeLibrary>): Sealing {
  const { recipients, identities } = keys;
  const acceptsPlain = recipients.length === 0 || (keys.acceptPlain ?? false);
  const recipientSet = recipients.length > 0 ? recipientSetOf(recipients) : undefined;
  let own: Promise<readonly string[]> | undefined;

  /** The recipients of this host's identities. */
  function ownRecipients(age: AgeLibrary): Promise<readonly string[]> {
    own ??= Promise.all(identities.map((identity) => recipientOf(age, identity)));
    return own;
  }

  async function opensItsOwn(): Promise<boolean> {
    const age = await load();
    for (const recipient of recipients) addRecipient(new age.Encrypter(), recipient);
    return (await ownRecipients(age)).some((recipient) => recipients.includes(recipient));
  }

  async function seal(bundle: Uint8Array): Promise<Uint8Array> {
    if (recipientSet === undefined) return bundle;
    const age = await load();
    const encrypter = new age.Encrypter();
    for (const recipient of recipients) addRecipient(encrypter, recipient);
    const words = noteArguments({ recipientSet, plainBytes: bundle.length });
    encrypter.addRecipient({ wrapFileKey: () => [new age.Stanza(words, new Uint8Array(0))] });
    return await encrypter.encrypt(bundle);
  }

  async function open(sealed: Uint8Array): Promise<Uint8Array> {
    const { note } = readSealedHeader(sealed);
    if (identities.length === 0) throw keyMissing(note, identities);
    const age = await load();
    const decrypter = new age.Decrypter();
    await ownRecipients(age);
    for (const identity of identities) decrypter.addIdentity(identity);
    try {
      return await decrypter.decrypt(sealed);
    } catch (error) {
      // The cause is dropped: what a library quotes is not known here.
      if (!isForOthers(error)) throw damaged('its encrypted content is not what was written');
      if (note?.recipientSet === recipientSet && (await opensItsOwn())) {
        throw damaged('its age header is not what was written: this host is among its recipients');
      }
      throw keyMissing(note, identities);
    }
  }

  return { recipients, recipientSet, acceptsPlain, seal, open, opensItsOwn };
}

/** A bundle as it lies on a share: opened if it is sealed, as it is otherwise. @throws MirrorError as `Sealing.open` */
export async function unsealed(data: Uint8Array, sealing: Sealing | undefined): Promise<Uint8Array> {
  if (!isSealed(data)) return data;
  if (sealing) return await sealing.open(data);
  throw keyMissing(readSealedHeader(data).note, []);
}

/**
 * Refuses a bundle that lies on the share in the clear where everything is to be encrypted (I3).
 *
 * @throws MirrorError `PLAIN_REFUSED`
 */
export function refusePlain(data: Uint8Array, sealing: Sealing | undefined): void {
  if (!sealing || sealing.acceptsPlain || isSealed(data)) return;
  throw new MirrorError(
    'PLAIN_REFUSED',
    'the state is stored in the clear, although this host encrypts: whoever can write to the share can have put it there',
    {
      next: 'if it is from before encryption began, set `encryption.accept_plain = true` and run `swtpm-mirror rekey --all`, then take it out again; if not, see with `swtpm-mirror history --all` who wrote it, and who can write to the share',
    },
  );
}

/** Whether a bundle lies as this host would write it; `undefined` for one that cannot be judged. */
export function isSealedFor(data: Uint8Array, recipientSet: string | undefined): boolean {
  if (!isSealed(data)) return recipientSet === undefined;
  return recipientSet !== undefined && readSealedHeader(data).note?.recipientSet === recipientSet;
}

/** Equal for equal sets of recipients, in whatever order. */
export function recipientSetOf(recipients: readonly string[]): string {
  return sha256([...new Set(recipients)].sort().join('\n')).slice(0, RECIPIENT_SET_DIGITS);
}

function addRecipient(encrypter: InstanceType<AgeLibrary['Encrypter']>, recipient: string): void {
  try {
    encrypter.addRecipient(recipient);
  } catch {
    throw new MirrorError('KEY_UNUSABLE', `${recipient} is no age recipient: it is mistyped or cut short`, {
      next: 'correct `encryption.recipients`; `age-keygen -y KEYFILE` prints the recipient of a key',
    });
  }
}

/** Its failure never carries the identity. */
async function recipientOf(age: AgeLibrary, identity: string): Promise<string> {
  try {
    return await age.identityToRecipient(identity);
  } catch {
    throw new MirrorError('KEY_UNUSABLE', 'an identity of this host is no age identity: it is cut short', {
      next: 'put the key file back as `age-keygen` wrote it',
    });
  }
}

/** The library tells it by its message alone; a test holds us to it. */
function isForOthers(error: unknown): boolean {
  return error instanceof Error && error.message === "no identity matched any of the file's recipients";
}

function keyMissing(note: SealNote | undefined, identities: readonly string[]): MirrorError {
  const whom = note ? `recipients ${note.recipientSet}` : 'recipients that are not known here';
  const found = identities.length === 0 ? 'this host has no key' : 'no key of this host is one of theirs';
  return new MirrorError('KEY_MISSING', `the state is encrypted for ${whom}, and ${found}`, {
    next: 'bring the identity that opens it to this host and name its file in `encryption.identity_file` (`swtpm-mirror doctor` checks it)',
  });
}
