/**
 * remove-tree: delete a directory with all that is in it, without ever following a symbolic link.
 *
 * What is listed was proved to be a directory by the listing itself, and each removal reaches its
 * name through an open directory (`FileSystem.linkFree`): a directory that becomes a link meanwhile
 * is refused, and what the link names is left alone. Of a link in the place of the tree the link
 * alone goes.
 */
import { errnoOf, MirrorError, type ErrorCode } from './errors.js';
import type { FileSystem } from './filesystem.js';

/** A late operation of another host can put something into a directory that was emptied a moment ago. */
const ATTEMPTS = 3;
/** Nothing of this program's is nested deeper than 4; whoever nests deeper wants to exhaust us. */
const DEPTH_MAX = 32;
/** Removals of one call. */
const REMOVALS_MAX = 200_000;

/**
 * Names go in ascending order. What is gone already is fine.
 *
 * @param operation prefix of the call sites: `purge` gives `purge:lstat`, `purge:unlink`, `purge:rmdir`
 * @param tooMuch code of the error for a tree that is too deep or too full to be removed at once
 * @throws MirrorError with that code
 */
export async function removeTree(
  fs: FileSystem,
  operation: string,
  path: string,
  tooMuch: ErrorCode = 'VOLUME_DAMAGED',
): Promise<void> {
  const removal = { fs, operation, top: path, left: REMOVALS_MAX, tooMuch };
  await remove(removal, path, DEPTH_MAX);
}

interface Removal {
  readonly fs: FileSystem;
  readonly operation: string;
  readonly top: string;
  readonly tooMuch: ErrorCode;
  left: number;
}

async function remove(removal: Removal, path: string, depth: number): Promise<void> {
  const { fs, operation } = removal;
  if (removal.left-- === 0) throw refusal(removal, `more than ${REMOVALS_MAX} names`);
  if (!(await isDirectory(removal, path))) {
    await ifThere(() => fs.unlink(`${operation}:unlink`, path));
    return;
  }
  if (depth === 0) throw refusal(removal, `directories nested deeper than ${DEPTH_MAX}`);
  for (let attempt = 1; ; attempt++) {
    const names = (await ifThere(() => fs.readdir(`${operation}:readdir`, path))) ?? [];
    for (const name of names.sort()) await remove(removal, `${path}/${name}`, depth - 1);
    try {
      await ifThere(() => fs.rmdir(`${operation}:rmdir`, path));
      return;
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      if (!['ENOTEMPTY', 'ENOTDIR'].includes(errno) || attempt >= ATTEMPTS) throw error;
      // Something else has taken its place, and is removed as what it is.
      if (errno === 'ENOTDIR') {
        await remove(removal, path, depth - 1);
        return;
      }
    }
  }
}

async function isDirectory({ fs, operation }: Removal, path: string): Promise<boolean> {
  return (await ifThere(() => fs.lstat(`${operation}:lstat`, path)))?.kind === 'directory';
}

async function ifThere<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await call();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function refusal({ top, tooMuch }: Removal, found: string): MirrorError {
  return new MirrorError(tooMuch, `cannot remove ${top} at once: it holds ${found}`, {
    next: `look who fills ${top}; what is there is not from swtpm-mirror, and can be removed by hand`,
  });
}
