/**
 * durable-file: a new file's bytes, on disk before anybody is told so.
 *
 * I1 `writeDurable` resolves only when every byte was taken by `write`, and `fsync` and `close` each said so: a full disk may answer late.
 * I2 After any failure the file is abandoned, never synced again: its data may be gone although a second fsync says 0.
 */
import { contentBytes, contentChunks, type Content } from './content.js';
import type { CallSite, FileSystem, OpenFile, OpenMode } from './filesystem.js';

/** Nobody but the program reads what it stores. */
export const FILE_MODE = 0o600;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The file systems' own word for a write that took fewer bytes than asked and then none. */
export class ShortWriteError extends Error {
  readonly code = 'ENOSPC';
}

/**
 * Makes a file of mode 0600 whose bytes are durable; its name is not yet, until the directory is synced.
 *
 * @param operation prefix of the call sites: `spool` gives `spool:open`, `spool:write`, `spool:fsync`, `spool:close`
 * @param how `owner`: whom the file is given to by its descriptor, before it has any content; its name could be another file's by then
 */
export async function writeDurable(
  fs: FileSystem,
  operation: string,
  path: string,
  content: Uint8Array | Content,
  how: OpenMode | { readonly mode: OpenMode; readonly owner: Owner | undefined },
): Promise<void> {
  const { mode, owner } = typeof how === 'string' ? { mode: how, owner: undefined } : how;
  const file = await fs.open(`${operation}:open`, path, mode, FILE_MODE);
  try {
    if (owner) await file.chown(`${operation}:chown`, owner.uid, owner.gid);
    await writeAll(file, `${operation}:write`, content);
    await file.sync(`${operation}:fsync`);
  } catch (error) {
    // The first failure is the one to report; the descriptor is freed whatever close says.
    await file.close(`${operation}:close`).catch(() => undefined);
    throw error;
  }
  await file.close(`${operation}:close`);
}

/** Writes at offset 0; a short write goes on after what was taken. */
export async function writeAll(file: OpenFile, site: CallSite, content: Uint8Array | Content): Promise<void> {
  const whole = content instanceof Uint8Array ? { data: content } : content;
  const total = contentBytes(whole);
  let position = 0;
  for (const chunk of contentChunks(whole)) {
    const end = position + chunk.length;
    while (position < end) {
      const written = await file.write(site, chunk.subarray(chunk.length - (end - position)), position);
      if (written <= 0) {
        throw new ShortWriteError(`no space left on device, wrote ${position} of ${total} bytes`);
      }
      position += written;
    }
  }
}
