/**
 * nvram-reader: the firmware's variables as one reading found them, or why they cannot be read. Nothing about them is an error: the
 * TPM beside them is captured all the same.
 *
 * I1 Nothing is followed, waited for, or read past the bound: links, devices and FIFOs are told, not opened for long.
 */
import {
  MISSING,
  NVRAM_BYTES_MAX,
  partFileName,
  type AbsentPart,
  type PartRole,
  type SeenFile,
} from '../model/capture.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { sha256 } from '../model/hash.js';
import { FILE_FORM } from '../model/nvram.js';
import type { DomainPaths } from './domain-paths.js';
import { readBounded, readRegular, UnfitFileError, type FileReading } from './files.js';
import { resolveDevice } from './nvram-device.js';

export type NvramReading =
  /** The domain has none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly file: SeenFile }
  | { readonly kind: 'absent'; readonly part: AbsentPart };

export async function readNvram(
  fs: FileSystem,
  { nvramPath, nvram = FILE_FORM }: DomainPaths,
): Promise<NvramReading> {
  const { role, device, unsupported } = nvram;
  const absent = (kind: AbsentPart['kind'], reason: string): NvramReading => {
    return { kind: 'absent', part: { role, path: nvramPath ?? '', kind, reason } };
  };
  if (unsupported !== undefined) return absent('unfit', unsupported);
  if (nvramPath === undefined) return { kind: 'none' };
  try {
    const found = device ? await readDevice(fs, nvramPath) : await readFile(fs, nvramPath);
    if (found.data.length === 0) return absent('missing', 'empty');
    const { stat, data } = found;
    const { inode, mode, mtimeNs } = stat;
    const owner = { uid: stat.uid, gid: stat.gid, user: '', group: '' };
    const seen = { role, name: partFileName(role), mode, mtimeNs, owner, data, sha256: sha256(data) };
    return { kind: 'read', file: { ...seen, inode, identity: undefined, selfValidating: false } };
  } catch (error) {
    if (error instanceof UnfitFileError) return absent('unfit', error.message);
    if (error instanceof MirrorError && error.code === 'HOST_TAMPERED') {
      return absent('unfit', `not where its directory is: ${error.message}`);
    }
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return absent('missing', MISSING);
    // What is no fault of the file: a broken program, or a simulated end of it.
    if (errno === undefined) throw error;
    return absent('passing', `not readable (${errno})`);
  }
}

async function readFile(fs: FileSystem, path: string): Promise<FileReading> {
  return await readRegular(fs, 'read-nvram', path, NVRAM_BYTES_MAX);
}

async function readDevice(fs: FileSystem, path: string): Promise<FileReading> {
  const device = await resolveDevice(fs, path);
  if (device === undefined) throw new UnfitFileError('no block device');
  return await readBounded(fs, 'read-nvram', device, 'block', NVRAM_BYTES_MAX);
}

/** What never comes to rest has been read in part. */
export function inMotion(role: PartRole, path: string): AbsentPart {
  return { role, path, kind: 'passing', reason: 'being written to all the time' };
}
