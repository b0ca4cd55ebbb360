/**
 * nvram-device: firmware variables on a block device.
 *
 * I1 Names are followed below `/dev` alone, where nobody but root and udev makes any, and only to a block device.
 */
import { dirname, resolve } from 'node:path';
import type { FileSystem } from '../model/filesystem.js';
import { lstatIfAny } from './files.js';

const LINKS_MAX = 8;

/** @returns the device's own path; `undefined` for anything else. @throws NodeJS.ErrnoException */
export async function resolveDevice(fs: FileSystem, path: string): Promise<string | undefined> {
  let at = path;
  for (let links = 0; links <= LINKS_MAX; links++) {
    const stat = await lstatIfAny(fs, 'nvram-device:lstat', at);
    if (stat?.kind === 'block') return at;
    if (stat?.kind !== 'symlink' || !at.startsWith('/dev/')) return undefined;
    at = resolve(dirname(at), await fs.readlink('nvram-device:readlink', at));
  }
  return undefined;
}
