/**
 * remove-tree: delete a directory with all that is in it, without ever following a symbolic link.
 */
import type { FileSystem } from '../model/filesystem.js';
import { errnoOf } from '../model/errors.js';
import { unlinkIfThere } from './files.js';

/** A late operation of another host can put something into a directory that was emptied a moment ago. */
const ATTEMPTS = 3;

/**
 * Names go in ascending order. What is gone already is fine.
 *
 * @param operation prefix of the call sites: `purge` gives `purge:lstat`, `purge:unlink`, `purge:rmdir`
 */
export async function removeTree(fs: FileSystem, operation: string, path: string): Promise<void> {
  if (!(await isDirectory(fs, operation, path))) {
    await unlinkIfThere(fs, `${operation}:unlink`, path);
    return;
  }
  for (let attempt = 1; ; attempt++) {
    for (const name of (await fs.readdir(`${operation}:readdir`, path)).sort()) {
      await removeTree(fs, operation, `${path}/${name}`);
    }
    try {
      await fs.rmdir(`${operation}:rmdir`, path);
      return;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT') return;
      if (errno !== 'ENOTEMPTY' || attempt >= ATTEMPTS) throw error;
    }
  }
}

async function isDirectory(fs: FileSystem, operation: string, path: string): Promise<boolean> {
  try {
    return (await fs.lstat(`${operation}:lstat`, path)).kind === 'directory';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
