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
import { contentBytes } from '../model/content.js';
import type { Clock } from '../model/environment.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileStat, FileSystem } from '../model/filesystem.js';
import { FILE_FORM } from '../model/nvram.js';
import type { DomainPaths } from './domain-paths.js';
import { lstatIfAny, readContent, UnfitFileError } from './files.js';
import { resolveDevice } from './nvram-device.js';

/** Longer than a tick of any file system's clock: that of FAT is 2 s. */
const RESTED_MS = 3000;
const REREAD_MS = 5 * 60_000;

export type NvramReading =
  /** The domain has none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly file: SeenFile }
  | { readonly kind: 'absent'; readonly part: AbsentPart };

/** @param memory of the readings before: what it recognises is not read again */
export async function readNvram(
  fs: FileSystem,
  { nvramPath, nvram = FILE_FORM }: DomainPaths,
  memory?: NvramMemory,
): Promise<NvramReading> {
  const { role, device, unsupported } = nvram;
  const absent = (kind: AbsentPart['kind'], reason: string): NvramReading => {
    return { kind: 'absent', part: { role, path: nvramPath ?? '', kind, reason } };
  };
  if (unsupported !== undefined) return absent('unfit', unsupported);
  if (nvramPath === undefined) return { kind: 'none' };
  try {
    const path = device ? await deviceAt(fs, nvramPath) : nvramPath;
    const known = await memory?.recall(fs, path);
    if (known) return { kind: 'read', file: known };
    const began = memory?.begin();
    const { stat, content, sha256 } = await readContent(
      fs,
      'read-nvram',
      path,
      device ? 'block' : 'file',
      NVRAM_BYTES_MAX,
    );
    if (contentBytes(content) === 0) return absent('missing', 'empty');
    const { inode, mode, mtimeNs } = stat;
    const owner = { uid: stat.uid, gid: stat.gid, user: '', group: '' };
    const seen = { role, name: partFileName(role), mode, mtimeNs, owner, ...content, sha256 };
    const file = { ...seen, inode, identity: undefined, selfValidating: false };
    began?.(stat, file);
    return { kind: 'read', file };
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

async function deviceAt(fs: FileSystem, path: string): Promise<string> {
  const device = await resolveDevice(fs, path);
  if (device === undefined) throw new UnfitFileError('no block device');
  return device;
}

/**
 * One domain's last reading, recognised by inode, size and times: flash is large, and written to seldom.
 *
 * I2 What it recognises had rested for `RESTED_MS` when it was read, and was read within `REREAD_MS`: nothing rests on times of files alone. The times
 *    of a device tell nothing, so it is always read.
 */
export class NvramMemory {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #stamp = '';
  #stampedMs = 0;
  #read: { readonly file: SeenFile; readonly atMs: number } | undefined;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  async recall(fs: FileSystem, path: string): Promise<SeenFile | undefined> {
    const stat = await lstatIfAny(fs, 'read-nvram:lstat', path);
    const nowMs = this.#clock.monotonicMs();
    const stamp = stat?.kind === 'file' ? stampOf(stat) : '';
    if (stamp !== this.#stamp) {
      this.#stamp = stamp;
      this.#stampedMs = nowMs;
      this.#read = undefined;
    }
    const isFresh = this.#read && stamp !== '' && nowMs - this.#read.atMs < REREAD_MS;
    return isFresh && this.#read ? { ...this.#read.file, selfValidating: true } : undefined;
  }

  /** It is about to be read. @returns to be told what was found */
  begin(): (stat: FileStat, file: SeenFile) => void {
    const atMs = this.#clock.monotonicMs();
    return (stat, file) => {
      const hasRested = stampOf(stat) === this.#stamp && atMs - this.#stampedMs >= RESTED_MS;
      this.#read = hasRested ? { file, atMs } : undefined;
    };
  }
}

function stampOf({ inode, size, mtimeNs, ctimeNs }: FileStat): string {
  return [inode, size, mtimeNs, ctimeNs].join(' ');
}

/** What never comes to rest has been read in part. */
export function inMotion(role: PartRole, path: string): AbsentPart {
  return { role, path, kind: 'passing', reason: 'being written to all the time' };
}
