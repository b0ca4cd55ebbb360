/**
 * key-file: the age identities of this host, from the file that `encryption.identity_file` names: one to a line, as `age-keygen` writes them.
 *
 * I1 A file that others than its owner may read is not used: its keys may be known.
 * I2 No error carries any of its text.
 */
import { dirname } from 'node:path';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { readRegular, UnfitFileError, type FileReading } from './files.js';

const BYTES_MAX = 64 * 1024;
const OPEN_TO_OTHERS = 0o077;
const IDENTITY = /^AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]+$/;
const SEALED = /^(?:age-encryption\.org\/|-----BEGIN AGE ENCRYPTED FILE-----)/;
const OTHER_KEY = /^(?:-----BEGIN |AGE-PLUGIN-)/;

/**
 * @param userId who this program is: the file belongs to it, or to root
 * @returns at least one identity; each is a secret
 * @throws MirrorError `KEY_UNUSABLE`
 */
export async function readIdentities(fs: FileSystem, path: string, userId: number): Promise<string[]> {
  const { stat, data } = await readKeyFile(fs, path);
  const directory = dirname(path);
  const { mode } = await fs.lstat('key-file:lstat-directory', directory);
  if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0) {
    throw unusable(`${directory}, where the key file lies, can be changed by everybody on this host`, {
      next: `run \`chmod o-w ${directory}\`, and see that the key is the one you know`,
    });
  }
  if ((stat.mode & OPEN_TO_OTHERS) !== 0) {
    throw unusable(`${path} has mode ${stat.mode.toString(8)}: others than its owner may read the key`, {
      next: `run \`chmod 600 ${path}\`; if somebody may have read it, make a new key and \`rekey\``,
    });
  }
  if (stat.uid !== userId && stat.uid !== 0) {
    throw unusable(`${path} belongs to user ${stat.uid}, expected ${userId}`, {
      next: `run \`chown ${userId} ${path}\``,
    });
  }
  const lines = new TextDecoder().decode(data).split('\n');
  const identities = lines.flatMap((line, index) => identityIn(line.trim(), `${path}, line ${index + 1}`));
  if (identities.length > 0) return identities;
  throw unusable(`${path} has no age identity in it`, { next: `make one with \`age-keygen -o ${path}\`` });
}

async function readKeyFile(fs: FileSystem, path: string): Promise<FileReading> {
  try {
    return await readRegular(fs, 'key-file', path, BYTES_MAX);
  } catch (error) {
    const why = error instanceof UnfitFileError ? `it is ${error.message}` : (errnoOf(error) ?? 'unreadable');
    throw unusable(`cannot read the key file ${path}: ${why}`, {
      next: 'bring the key to this host, mode 0600, or correct `encryption.identity_file`',
    });
  }
}

function identityIn(line: string, where: string): string[] {
  if (line === '' || line.startsWith('#')) return [];
  if (IDENTITY.test(line)) return [line];
  if (SEALED.test(line)) {
    throw unusable(`${where}: the key is itself encrypted, and an agent has nobody to ask`, {
      next: 'decrypt it with `age -d`, and keep it with mode 0600',
    });
  }
  if (OTHER_KEY.test(line)) {
    throw unusable(`${where}: a key of another kind than age's own`, {
      next: 'make one with `age-keygen`; SSH keys and plugins are not taken',
    });
  }
  throw unusable(`${where}: this is no age identity`, {
    next: 'put the key file back as `age-keygen` wrote it: comments and lines that begin with AGE-SECRET-KEY-1',
  });
}

function unusable(message: string, { next }: { readonly next: string }): MirrorError {
  return new MirrorError('KEY_UNUSABLE', message, { next });
}
