/**
 * node-directories: the directories of this program's own that must be there before anything else.
 */
import { stat } from 'node:fs/promises';
import { ensureDir } from 'fs-extra';
import { MirrorError } from '../model/errors.js';
import { isWorldWritable } from '../model/world-writable.js';

const OWNER_ONLY = 0o700;

/**
 * Makes a directory and what is missing above it, for this program's user alone; one that is there keeps its mode.
 *
 * @throws MirrorError `HOST_IO` when everybody could exchange what is in it
 */
export async function ensureOwnDirectory(path: string): Promise<void> {
  await ensureDir(path, OWNER_ONLY);
  if (!isWorldWritable((await stat(path)).mode)) return;
  throw new MirrorError('HOST_IO', `${path} can be changed by everybody on this host`, {
    next: `run \`chmod o-w ${path}\`, and see that nothing in it is somebody else's`,
  });
}
