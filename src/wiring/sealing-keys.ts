/**
 * sealing-keys: the keys that the configuration names, and the library that uses them.
 */
import { ageSealing, type AgeLibrary, type Sealing, type SealingKeys } from '../bundle/sealing.js';
import { readIdentities } from '../host/key-file.js';
import type { Config } from '../model/config.js';
import type { FileSystem } from '../model/filesystem.js';

async function loadAge(): Promise<AgeLibrary> {
  return await import('./age-library.js');
}

export function openSealing(keys: SealingKeys): Sealing {
  return ageSealing(keys, loadAge);
}

/**
 * @returns `undefined` when nothing is encrypted
 * @throws MirrorError `KEY_UNUSABLE`
 */
export async function readSealingKeys(
  fs: FileSystem,
  { encryption: { recipients, identityFile, acceptPlain } }: Config,
): Promise<SealingKeys | undefined> {
  if (recipients.length === 0 && identityFile === undefined) return undefined;
  const userId = process.getuid?.() ?? 0;
  return {
    recipients,
    acceptPlain,
    identities: identityFile === undefined ? [] : await readIdentities(fs, identityFile, userId),
  };
}
