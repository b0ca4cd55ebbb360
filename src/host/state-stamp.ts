/**
 * state-stamp: tells without reading them whether a domain's state files are the same as before.
 *
 *   P1 take     kind, inode, size and times of the domain's directories and of each state file in them
 *   P2 compare  the same of what was there then; a name that came or went since shows in the times of its directory
 *
 * I1 A file that was renamed into place, made, removed or written to is told from the one before: by its inode, or by its own or its directory's times.
 * Not guaranteed: that equal stamps mean equal contents. A second write within one tick of the file system's clock shows nowhere, nor does one through
 * a memory map whose page was written to shortly before, nor one after which the host's clock was set back to the very tick. Whoever relies on stamps
 * reads only once they have rested, and reads all the same from time to time (`agent/domain/reread.ts`).
 */
import { STATE_FILE_NAMES } from '../model/capture.js';
import type { FileSystem } from '../model/filesystem.js';
import { tpmDirectory, tpmRoles, type DomainPaths } from './domain-paths.js';
import { lstatIfAny } from './files.js';

/** By path, what `lstat` tells; empty for what is missing. */
export type StateStamp = ReadonlyMap<string, string>;

/**
 * @param before the stamp that was taken last
 * @returns `before` itself when nothing shows that a file is another, or was written to, since
 * @throws NodeJS.ErrnoException
 */
export async function stampState(
  fs: FileSystem,
  paths: DomainPaths,
  before?: StateStamp,
): Promise<StateStamp> {
  return before && (await isStill(fs, paths, before)) ? before : await takeStamp(fs, paths);
}

/**
 * When the TPM's state files were last changed, by the clock of their file system, ns: what any archive
 * or copy that is put in their place cannot set back (ctime).
 *
 * @returns `undefined` when there are none
 * @throws NodeJS.ErrnoException
 */
export async function stateChangedAtNs(fs: FileSystem, paths: DomainPaths): Promise<bigint | undefined> {
  let latest: bigint | undefined;
  for (const role of tpmRoles(paths)) {
    for (const name of STATE_FILE_NAMES[role]) {
      const stat = await lstatIfAny(fs, 'stamp:lstat', `${tpmDirectory(paths, role)}/${name}`);
      if (stat && (latest === undefined || stat.ctimeNs > latest)) latest = stat.ctimeNs;
    }
  }
  return latest;
}

async function isStill(fs: FileSystem, { nvramPath }: DomainPaths, before: StateStamp): Promise<boolean> {
  if (nvramPath !== undefined && !before.has(nvramPath)) return false;
  const now = await look(fs, [...before.keys()]);
  return [...before].every(([path, facts]) => now.get(path) === facts);
}

async function takeStamp(fs: FileSystem, { nvramPath, ...paths }: DomainPaths): Promise<StateStamp> {
  const inDirectories = tpmRoles(paths).flatMap((role) => {
    const directory = tpmDirectory(paths, role);
    return [directory, ...STATE_FILE_NAMES[role].map((name) => `${directory}/${name}`)];
  });
  const found = [...(await look(fs, inDirectories))].filter(([, facts]) => facts !== '');
  // The NVRAM's directory is every domain's, so that its times say little: the file is looked for also when it is missing.
  const alone = [paths.swtpmDirectory, ...(nvramPath === undefined ? [] : [nvramPath])];
  return new Map([...(await look(fs, alone)), ...found]);
}

async function look(fs: FileSystem, paths: readonly string[]): Promise<StateStamp> {
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await factsOf(fs, path)] as [string, string])),
  );
}

async function factsOf(fs: FileSystem, path: string): Promise<string> {
  const stat = await lstatIfAny(fs, 'stamp:lstat', path);
  if (!stat) return '';
  const { kind, inode, size, mtimeNs, ctimeNs } = stat;
  return [kind, inode, size, mtimeNs, ctimeNs].join(' ');
}
