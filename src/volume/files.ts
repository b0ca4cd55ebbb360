/**
 * files: whole small files on the share.
 */
import { writeDurable } from '../model/durable-file.js';
import type { CallSite, FileSystem, OpenFile } from '../model/filesystem.js';
import { errnoOf, MirrorError } from '../model/errors.js';

/** A file replaced by another client while it was open answers `ESTALE`: it is opened anew by its name, this often. */
const STALE_ATTEMPTS = 3;

/**
 * Writes a new file and makes its bytes durable under that name in an unsynced directory. The name is unique, so there is nothing to empty; and an
 * open that empties, delivered by the network a second time and late, would take what was written since.
 */
export function writeWhole(fs: FileSystem, operation: string, path: string, data: Uint8Array): Promise<void> {
  return writeDurable(fs, operation, path, data, 'overwrite');
}

/**
 * Reads a regular file of at most `bytesMax` bytes.
 *
 * @throws MirrorError `GENERATION_DAMAGED` when the file is longer, or is no regular file
 */
export async function readWhole(
  fs: FileSystem,
  operation: string,
  path: string,
  bytesMax: number,
): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readOnce(fs, operation, path, bytesMax);
    } catch (error) {
      if (errnoOf(error) !== 'ESTALE' || attempt >= STALE_ATTEMPTS) throw error;
    }
  }
}

async function readOnce(
  fs: FileSystem,
  operation: string,
  path: string,
  bytesMax: number,
): Promise<Uint8Array> {
  const file = await openWhole(fs, `${operation}:open`, path);
  try {
    const { kind, size } = await file.stat(`${operation}:stat`);
    if (kind !== 'file') throw irregular(path, kind === 'other' ? 'special file' : kind);
    if (size > bytesMax) {
      throw unreadable(path, `${String(size)} bytes, at most ${String(bytesMax)} expected`);
    }
    const data = new Uint8Array(size);
    let position = 0;
    while (position < size) {
      const chunk = await file.read(`${operation}:read`, size - position, position);
      if (chunk.length === 0) break;
      data.set(chunk, position);
      position += chunk.length;
    }
    return data.subarray(0, position);
  } finally {
    await file.close(`${operation}:close-read`);
  }
}

async function openWhole(fs: FileSystem, site: CallSite, path: string): Promise<OpenFile> {
  try {
    return await fs.open(site, path, 'read');
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw irregular(path, 'symbolic link');
    if (errnoOf(error) === 'ENXIO') throw irregular(path, 'socket');
    throw error;
  }
}

function irregular(path: string, found: string): MirrorError {
  return unreadable(path, `expected a regular file, found a ${found}`);
}

function unreadable(path: string, why: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot read ${path}: ${why}`, {
    next: 'look at the file; `swtpm-mirror verify` tells which generations are whole',
  });
}

/** Makes a directory durable in its parent; one that is there already is fine. */
export async function ensureDirectory(
  fs: FileSystem,
  operation: string,
  parent: string,
  path: string,
  mode: number,
): Promise<void> {
  try {
    await fs.mkdir(`${operation}:mkdir`, path, mode);
  } catch (error) {
    // A lost reply, or another host that was quicker: either way the directory is there.
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  await fs.syncDirectory(`${operation}:sync-parent`, parent);
}

/**
 * Whether a name, or a directory on its path, is not there (any more): `ESTALE` is said of a directory
 * that another host moved or removed while this one still believed in its path.
 */
export function isGone(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOENT' || errno === 'ESTALE';
}

/** Removes a file; one that is gone already is fine. */
export async function unlinkIfThere(fs: FileSystem, site: CallSite, path: string): Promise<void> {
  try {
    await fs.unlink(site, path);
  } catch (error) {
    // Gone already: a removal whose reply was lost, or somebody else's.
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
