/**
 * node-directories: the directories of this program's own that must be there before anything else.
 */
import { ensureDir } from 'fs-extra';

const OWNER_ONLY = 0o700;

/** Makes a directory and what is missing above it, for this program's user alone; one that is there keeps its mode. */
export async function ensureOwnDirectory(path: string): Promise<void> {
  await ensureDir(path, OWNER_ONLY);
}
