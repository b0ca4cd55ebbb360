/**
 * libtpms-version: which libtpms this host's swtpm uses, from the names of the libraries that are
 * installed: libtpms.so.0.9.2. Nothing is run.
 *
 * Of several the newest counts: nothing is called too old that may not be.
 */
import { errnoOf } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { parseLibtpmsVersion, type LibtpmsVersion } from '../model/tpm-format.js';

const DIRECTORIES = ['/usr/local/lib', '/usr/local/lib64', '/usr/lib64', '/usr/lib', '/lib64', '/lib'];
/** Debian's: one for each architecture. */
const TRIPLET = /^[a-z0-9_]+-linux-[a-z0-9_]+$/;
const LIBRARY = /^libtpms\.so\.(\d+\.\d+\.\d+)$/;

/** @returns `undefined` when none is found */
export async function libtpmsVersion(fs: FileSystem): Promise<LibtpmsVersion | undefined> {
  const found: LibtpmsVersion[] = [];
  for (const directory of DIRECTORIES) {
    const names = await namesIn(fs, directory);
    found.push(...versionsIn(names));
    for (const triplet of names.filter((name) => TRIPLET.test(name))) {
      found.push(...versionsIn(await namesIn(fs, `${directory}/${triplet}`)));
    }
  }
  return found.sort((a, b) => b.major - a.major || b.minor - a.minor)[0];
}

function versionsIn(names: readonly string[]): LibtpmsVersion[] {
  return names.flatMap((name) => {
    const [, text = ''] = LIBRARY.exec(name) ?? [];
    return parseLibtpmsVersion(text) ?? [];
  });
}

async function namesIn(fs: FileSystem, path: string): Promise<string[]> {
  try {
    return await fs.readdir('libtpms:readdir', path);
  } catch (error) {
    // Missing, or not a directory, or not ours to read: nothing is known of it then.
    if (errnoOf(error) !== undefined) return [];
    throw error;
  }
}
