/**
 * nvram-reader: the firmware's variables as one reading found them, or why they cannot be read. Nothing about them is an error: the
 * TPM beside them is captured all the same.
 *
 * I1 Nothing is followed, waited for, or read past the bound: links, devices and FIFOs are told, not opened for long.
 */
import {
  MISSING,
  NVRAM_FILE_NAME,
  STATE_FILE_BYTES_MAX,
  type AbsentPart,
  type SeenFile,
} from '../model/capture.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { sha256 } from '../model/hash.js';
import { readRegular, UnfitFileError } from './files.js';

export type NvramReading =
  /** The domain has none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly file: SeenFile }
  | { readonly kind: 'absent'; readonly part: AbsentPart };

/** @param path `undefined` for a domain without NVRAM */
export async function readNvram(fs: FileSystem, path: string | undefined): Promise<NvramReading> {
  if (path === undefined) return { kind: 'none' };
  try {
    const { stat, data } = await readRegular(fs, 'read-nvram', path, STATE_FILE_BYTES_MAX);
    if (data.length === 0) return absent(path, 'passing', 'empty');
    const { inode, mode, mtimeNs } = stat;
    const seen = { role: 'nvram', name: NVRAM_FILE_NAME, mode, mtimeNs, data, sha256: sha256(data) } as const;
    return { kind: 'read', file: { ...seen, inode, identity: undefined, selfValidating: false } };
  } catch (error) {
    return faultOf(path, error);
  }
}

/** @throws whatever is no fault of the file: a broken program, or a simulated end of it */
function faultOf(path: string, error: unknown): NvramReading {
  if (error instanceof UnfitFileError) return absent(path, 'unfit', error.message);
  if (error instanceof MirrorError && error.code === 'HOST_TAMPERED') {
    return absent(path, 'unfit', `not where its directory is: ${error.message}`);
  }
  const errno = errnoOf(error);
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return absent(path, 'missing', MISSING);
  if (errno === undefined) throw error;
  return absent(path, 'passing', `not readable (${errno})`);
}

function absent(path: string, kind: AbsentPart['kind'], reason: string): NvramReading {
  return { kind: 'absent', part: { role: 'nvram', path, kind, reason } };
}

/** What never comes to rest has been read in part. */
export function inMotion(path: string): AbsentPart {
  return { role: 'nvram', path, kind: 'passing', reason: 'being written to all the time' };
}
