/**
 * fake-age: files with the structure of age's and none of its strength, in an instant and equal for equal input: for sweeps that seal thousands of times.
 */
import type { AgeLibrary } from '../../src/bundle/sealing.js';

const CHUNK_BYTES = 64 * 1024;
const TAG = Buffer.alloc(16, 0xaa);
const NONCE = Buffer.alloc(16, 0x55);
const MASK = 0x5c;

/** `secret of X` is the identity of the recipient `X`. */
export function secretOf(recipient: string): string {
  return `secret of ${recipient}`;
}

class Stanza {
  readonly args: string[];
  readonly body: Uint8Array;

  constructor(args: string[], body: Uint8Array) {
    this.args = args;
    this.body = body;
  }
}

type Recipient = Parameters<InstanceType<AgeLibrary['Encrypter']>['addRecipient']>[0];

class Encrypter {
  readonly #stanzas: string[] = [];

  addRecipient(recipient: Recipient): void {
    const stanzas =
      typeof recipient === 'string'
        ? [new Stanza(['fake', recipient], new Uint8Array(0))]
        : recipient.wrapFileKey(new Uint8Array(16));
    this.#stanzas.push(...stanzas.map(({ args }) => `-> ${args.join(' ')}\n`));
  }

  encrypt(data: Uint8Array): Promise<Uint8Array> {
    const header = `age-encryption.org/v1\n${this.#stanzas.join('\n')}\n--- ${'M'.repeat(43)}\n`;
    const parts: Uint8Array[] = [Buffer.from(header), NONCE];
    for (let at = 0; at === 0 || at < data.length; at += CHUNK_BYTES) {
      parts.push(masked(data.subarray(at, at + CHUNK_BYTES)), TAG);
    }
    return Promise.resolve(Buffer.concat(parts));
  }
}

class Decrypter {
  readonly #recipients: string[] = [];

  addIdentity(identity: string): void {
    this.#recipients.push(identity.replace('secret of ', ''));
  }

  decrypt(data: Uint8Array): Promise<Uint8Array> {
    const text = Buffer.from(data).toString('latin1');
    if (!this.#recipients.some((recipient) => text.includes(`-> fake ${recipient}\n`))) {
      return Promise.reject(new Error("no identity matched any of the file's recipients"));
    }
    const payload = data.subarray(text.indexOf('\n', text.indexOf('\n--- ') + 1) + 1 + NONCE.length);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < payload.length; at += CHUNK_BYTES + TAG.length) {
      chunks.push(masked(payload.subarray(at, at + CHUNK_BYTES + TAG.length).subarray(0, -TAG.length)));
    }
    return Promise.resolve(Buffer.concat(chunks));
  }
}

function masked(data: Uint8Array): Uint8Array {
  return data.map((byte) => byte ^ MASK);
}

export const FAKE_AGE: AgeLibrary = {
  Encrypter,
  Decrypter,
  Stanza,
  identityToRecipient: (identity) => Promise.resolve(identity.replace('secret of ', '')),
};
