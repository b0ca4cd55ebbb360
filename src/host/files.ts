/**
 * files: whole files and directories on this host's disks.
 *
 * I1 `readRegular` never follows a link, never waits for a FIFO, and reads a bounded number of bytes from one descriptor. What has another name, too, is read
 *    only where it belongs to the user whose directory it is in.
 */
import { dirname } from 'node:path';
import { CHUNK_BYTES, ContentReader, type Content } from '../model/content.js';
import { writeDurable, type Owner } from '../model/durable-file.js';
import { errnoOf } from '../model/errors.js';
import type { CallSite, FileStat, FileSystem, OpenFile } from '../model/filesystem.js';
import { DIRECTORY_MODE } from './host-context.js';

/** What stands at a path is not a regular file of a bounded size. Its message continues `<path> is …`. */
export class UnfitFileError extends Error {}

export interface FileReading {
  readonly stat: FileStat;
  readonly data: Uint8Array;
}

/**
 * Writes a file that is not there yet (see `durable-file`).
 *
 * @param owner whom it belongs to before it has any content; this user by default
 */
export function writeNewFile(
  fs: FileSystem,
  operation: string,
  path: string,
  content: Uint8Array | Content,
  owner?: Owner,
): Promise<void> {
  return writeDurable(fs, operation, path, content, { mode: 'create-exclusive', owner });
}

/**
 * @throws UnfitFileError when it is a link, a directory, a socket, …, or longer than `bytesMax`
 */
export async function readRegular(
  fs: FileSystem,
  operation: string,
  path: string,
  bytesMax: number,
): Promise<FileReading> {
  const file = await openRegular(fs, `${operation}:open`, path);
  try {
    const stat = await file.stat(`${operation}:stat`);
    if (stat.kind !== 'file') {
      throw new UnfitFileError(nameOfKind(stat.kind));
    }
    if (stat.size > bytesMax) throw tooLong(stat.size, bytesMax);
    await refuseForeignLink(fs, operation, path, stat);
    return { stat, data: await readToEnd(file, `${operation}:read`, stat.size, bytesMax) };
  } finally {
    await file.close(`${operation}:close-read`);
  }
}

/** Whoever may write to a directory can give another user's file a second name in it, and so have it read for him. */
async function refuseForeignLink(
  fs: FileSystem,
  operation: string,
  path: string,
  { links, uid }: FileStat,
): Promise<void> {
  if (links <= 1) return;
  const directory = await fs.lstat(`${operation}:lstat-parent`, dirname(path));
  if (directory.uid === uid) return;
  throw new UnfitFileError(
    `a second name (hard link) of a file of user ${uid}, in a directory of user ${directory.uid}`,
  );
}

function nameOfKind(kind: FileStat['kind']): string {
  if (kind === 'block') return 'a block device';
  return `a ${kind === 'other' ? 'special file' : kind}`;
}

/** The same in pieces, so that a long tail costs no memory. */
export async function readContent(
  fs: FileSystem,
  operation: string,
  path: string,
  kind: 'file' | 'block',
  bytesMax: number,
): Promise<{ stat: FileStat; content: Content; sha256: string }> {
  const file = await openRegular(fs, `${operation}:open`, path);
  try {
    const stat = await file.stat(`${operation}:stat`);
    if (stat.kind !== kind) throw new UnfitFileError(nameOfKind(stat.kind));
    if (stat.size > bytesMax) throw tooLong(stat.size, bytesMax);
    if (kind === 'file') await refuseForeignLink(fs, operation, path, stat);
    const reader = new ContentReader();
    for (;;) {
      const chunk = await file.read(`${operation}:read`, CHUNK_BYTES, reader.length);
      if (chunk.length === 0) return { stat, ...reader.end() };
      reader.add(chunk);
      if (reader.length > bytesMax) throw tooLong(reader.length, bytesMax);
    }
  } finally {
    await file.close(`${operation}:close-read`);
  }
}

async function openRegular(fs: FileSystem, site: CallSite, path: string): Promise<OpenFile> {
  try {
    return await fs.open(site, path, 'read');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ELOOP') throw new UnfitFileError('a symbolic link', { cause: error });
    if (errno === 'ENXIO') throw new UnfitFileError('a socket or a device', { cause: error });
    throw error;
  }
}

/** Reads until the file ends, wherever it ends by now: a writer may be at work. */
async function readToEnd(
  file: OpenFile,
  site: CallSite,
  sizeExpected: number,
  bytesMax: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = await file.read(site, Math.max(sizeExpected - length, 0) + 1, length);
    if (chunk.length === 0) break;
    chunks.push(chunk);
    length += chunk.length;
    if (length > bytesMax) throw tooLong(length, bytesMax);
  }
  const [only] = chunks;
  return only && chunks.length === 1 ? only : Buffer.concat(chunks);
}

function tooLong(bytes: number, bytesMax: number): UnfitFileError {
  return new UnfitFileError(`${bytes} bytes long or longer, expected at most ${bytesMax}`);
}

/** `lstat`, or `undefined` when nothing has this name. */
export async function lstatIfAny(
  fs: FileSystem,
  site: CallSite,
  path: string,
): Promise<FileStat | undefined> {
  return ifAny(() => fs.lstat(site, path));
}

/** Names in a directory; none when it is missing. */
export async function namesIn(fs: FileSystem, site: CallSite, path: string): Promise<string[]> {
  return (await ifAny(() => fs.readdir(site, path))) ?? [];
}

/** The result of `call`, or `undefined` when what it asks for is missing. */
export async function ifAny<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Makes `root/a`, `root/a/b`, … durably, each of mode 0700; what is there already stays.
 *
 * @returns the last of them
 */
export async function ensureDirectories(
  fs: FileSystem,
  operation: string,
  root: string,
  ...segments: readonly string[]
): Promise<string> {
  let path = root;
  for (const segment of segments) {
    const parent = path;
    path = `${parent}/${segment}`;
    try {
      await fs.mkdir(`${operation}:mkdir`, path, DIRECTORY_MODE);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    // Also for one that was there: whoever made it may have crashed before this.
    await fs.syncDirectory(`${operation}:sync-parent`, parent);
  }
  return path;
}
