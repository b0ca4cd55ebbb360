/**
 * state-directory: put a capture's files where swtpm and QEMU will look for them, all or nothing.
 *
 *   P1 check      the capture validates, and no link stands where a directory should
 *   P2 set aside  local files that the capture does not hold are kept under `<state_dir>/set-aside`
 *   P3 stage      the new TPM directory whole in `<swtpm_dir>/.<uuid>.swtpm-mirror/`, the new NVRAM beside the old; all synced
 *   P4 parent     `<uuid>` exists and swtpm's user can pass through it
 *   P5 move out   the old TPM directory goes to the staging directory; synced
 *   P6 NVRAM      rename over the old; synced
 *   P7 commit     one rename brings the staged TPM directory into place; synced
 *   P8 clear      the staging directory and the old files in it go
 *
 * After a crash:  before P5 the old state stands untouched; between P5 and P7 the domain has no TPM directory; from P7 on
 * the new state stands whole.
 *
 * I1 swtpm never sees a part of a state: only P5 and P7 touch its directory, each one rename of the whole.
 * I2 Old TPM and new NVRAM, or the reverse, never stand together: P6 lies in the gap. The gap is the point: "no TPM directory" is what no
 *    restore plan can take for a state, while a mixture would look like one.
 * I3 An empty TPM directory is never left (swtpm_setup would be skipped and the TPM have no certificates): the staged one is filled and synced
 *    before it moves.
 * I4 Nothing that stood there is lost: P2 is durable before P5.
 * I5 Nothing of ours is ever inside a directory that swtpm or libvirt reads; what a crash leaves beside it has a fixed name, which the next
 *    restore and `sweepStaging` remove.
 * Not guaranteed: I1 and I2 across the two directories of a domain that has both a TPM 1.2 and a TPM 2, which moves by two renames (libvirt
 *    allows one TPM for a domain); anything when two restores of one domain run at once; the caller holds the domain's lock.
 */
import { dirname } from 'node:path';
import { isTpmRole, type Capture, type StateFile, type TpmDirectoryName } from '../model/capture.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { CallSite, FileStat, FileSystem } from '../model/filesystem.js';
import { quoted, type DomainUuid } from '../model/identifiers.js';
import { removeTree } from '../model/remove-tree.js';
import { FILE_MODE, writeAll } from '../model/durable-file.js';
import { FILE_FORM } from '../model/nvram.js';
import { validateStateFile } from '../model/swtpm-blob.js';
import {
  parseStagingName,
  stagedNvramPath,
  stagingDirectory,
  swtpmRoot,
  TPM_DIRECTORY_NAMES,
  tpmDirectory,
  tpmRoles,
  type DomainPaths,
} from './domain-paths.js';
import { ifAny, lstatIfAny, namesIn, writeNewFile } from './files.js';
import { resolveDevice } from './nvram-device.js';
import { orHostError } from './host-error.js';
import { DIRECTORY_MODE, type HostContext } from './host-context.js';
import type { Owners, Ownership } from './owner.js';
import { setAside } from './set-aside.js';
import { forgetMovedLinks } from './state-links.js';

export interface RestoreOptions {
  /** Of files that replace none. @default root's */
  readonly owners?: Owners | undefined;
  /**
   * A directory that holds the capture's TPM directories: they are linked to, never `<uuid>` itself, and P3 stages the links. The path is written and
   * never followed here.
   */
  readonly linkTo?: string | undefined;
  /** What stands in the place of the firmware variables goes, once it is set aside; QEMU's manager makes fresh ones. */
  readonly clearNvram?: boolean | undefined;
}

export interface RestoreOutcome {
  /** Where the replaced local files are kept, when there were any that the capture does not hold. */
  readonly setAside: string | undefined;
}

/** libvirt's own mode for `<swtpm_dir>` and `<uuid>`: swtpm's user passes through them and cannot list them. */
const PASSABLE_DIRECTORY_MODE = 0o711;
const PASSABLE = 0o111;
/** Whatever a manifest says, nobody but the owner and its group gets at it. */
const NVRAM_MODE_BITS = 0o660;

/** What swtpm and libvirt leave in a TPM's directory. */
const OF_SWTPM = /^(\.lock|(TMP2?-)?tpm2?-00\.(permall|savestate|volatilestate)|TMP2?-.*)$/;

/** The directories that stand, by role. */
type Standing = ReadonlyMap<TpmDirectoryName, FileStat>;

/**
 * Files get the owner of what they replace (libvirt sets the owner at every start).
 *
 * @throws MirrorError `STATE_INVALID` for an invalid capture, a link, or something that cannot be set aside; `HOST_IO`
 */
export async function restoreState(
  context: HostContext,
  paths: DomainPaths,
  capture: Capture,
  { owners, linkTo, clearNvram = false }: RestoreOptions = {},
): Promise<RestoreOutcome> {
  const { fs } = context;
  return orHostError(`restore the state of ${paths.uuid}`, async () => {
    for (const file of capture.files) {
      if (isTpmRole(file.role)) validateStateFile(file.role, file.name, file.data);
    }
    const standing = await standingDirectories(fs, paths);
    const isNvramReplaced = clearNvram || nvramIn(paths, capture) !== undefined;
    if (paths.own) await expectAlone(fs, paths.own.directory);
    const why = `replaced by the restore of ${capture.digest}`;
    const outcome = { setAside: await setAside(context, paths, why, capture, isNvramReplaced) };
    await sweep(fs, paths);
    if (paths.own) {
      await makeWayTo(fs, paths.swtpmDirectory);
    } else {
      // libvirt makes it only with the first TPM of a host.
      await ensurePassableDirectory(fs, 'restore:sync-above-root', swtpmRoot(paths));
    }
    if (linkTo === undefined) await stage(fs, paths, capture, standing.values().next().value ?? owners?.tpm);
    else await stageLinks(fs, paths, capture, linkTo);
    const device = await deviceFor(fs, paths, capture);
    const nvram = device === undefined ? await stageNvram(fs, paths, capture, owners?.nvram) : undefined;
    if (!paths.own) await ensurePassableDirectory(fs, 'restore:sync-root', paths.swtpmDirectory);
    await moveOut(fs, paths, standing);
    if (nvram !== undefined) await replaceNvram(fs, nvram);
    else if (clearNvram) await removeNvram(fs, paths);
    if (device !== undefined) await writeDevice(fs, device.path, device.file);
    await moveIn(fs, paths, capture);
    await sweep(fs, paths);
    if (!paths.own) await forgetMovedLinks(fs, paths);
    return outcome;
  });
}

/**
 * Removes what an interrupted restore left. The caller holds the domain's lock.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function sweepStaging(context: Pick<HostContext, 'fs'>, paths: DomainPaths): Promise<void> {
  await orHostError(`sweep the staging directory of ${paths.uuid}`, () => sweep(context.fs, paths));
}

/**
 * The domains for which an interrupted restore left something under libvirt's TPM directory.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function stagedDomains(
  context: Pick<HostContext, 'fs'>,
  swtpmRootPath: string,
): Promise<DomainUuid[]> {
  const names = await orHostError('look for interrupted restores', () =>
    namesIn(context.fs, 'sweep-staging:readdir-root', swtpmRootPath),
  );
  return names.map(parseStagingName).filter((uuid) => uuid !== undefined);
}

/**
 * Removes the domain's TPM directories and its own directory as far as they are empty, so that libvirt runs swtpm_setup. Never removes
 * anything else.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function removeEmptyStateDirectory(
  context: Pick<HostContext, 'fs'>,
  paths: DomainPaths,
): Promise<void> {
  await orHostError(`remove the empty TPM directory of ${paths.uuid}`, async () => {
    for (const role of tpmRoles(paths)) await rmdirIfEmpty(context.fs, tpmDirectory(paths, role));
    if (!paths.own) await rmdirIfEmpty(context.fs, paths.swtpmDirectory);
  });
}

async function rmdirIfEmpty(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.rmdir('remove-empty:rmdir', path);
  } catch (error) {
    // Full, missing, or no directory (a link): all of these stay as they are.
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) throw error;
  }
}

async function standingDirectories(fs: FileSystem, paths: DomainPaths): Promise<Standing> {
  const standing = new Map<TpmDirectoryName, FileStat>();
  if (!(await directoryAt(fs, paths.swtpmDirectory))) return standing;
  for (const role of tpmRoles(paths)) {
    const stat = await directoryAt(fs, tpmDirectory(paths, role));
    if (stat) standing.set(role, stat);
  }
  return standing;
}

async function directoryAt(fs: FileSystem, path: string): Promise<FileStat | undefined> {
  const stat = await lstatIfAny(fs, 'restore:lstat', path);
  if (!stat || stat.kind === 'directory') return stat;
  const what = stat.kind === 'symlink' ? 'a symbolic link' : 'no directory';
  throw new MirrorError('STATE_INVALID', `cannot restore into ${path}: it is ${what}, expected a directory`, {
    next: `remove ${path} (a link only, not its target), then try again; nothing was changed`,
  });
}

async function stage(
  fs: FileSystem,
  paths: DomainPaths,
  capture: Capture,
  ownership: Ownership | undefined,
): Promise<void> {
  const staging = stagingDirectory(paths);
  await fs.mkdir('restore:mkdir-staging', staging, DIRECTORY_MODE);
  for (const role of rolesOf(capture)) {
    const directory = `${staging}/${role}`;
    await fs.mkdir('restore:mkdir-role', directory, DIRECTORY_MODE);
    for (const file of capture.files.filter((candidate) => candidate.role === role)) {
      await writeOwned(fs, `${directory}/${file.name}`, file, ownership);
    }
    await setOwner(fs, directory, ownership);
    await fs.syncDirectory('restore:sync-role', directory);
  }
  await fs.syncDirectory('restore:sync-staging', staging);
}

async function stageLinks(
  fs: FileSystem,
  paths: DomainPaths,
  capture: Capture,
  linkTo: string,
): Promise<void> {
  const staging = stagingDirectory(paths);
  await fs.mkdir('restore:mkdir-staging', staging, DIRECTORY_MODE);
  for (const role of rolesOf(capture)) {
    await fs.symlink('restore:symlink', `${linkTo}/${role}`, `${staging}/${role}`);
  }
  await fs.syncDirectory('restore:sync-staging', staging);
}

/** The capture's firmware variables, if they are of the kind that the domain has. */
function nvramIn({ nvram = FILE_FORM }: DomainPaths, { files }: Capture): StateFile | undefined {
  return files.find(({ role }) => role === nvram.role);
}

async function removeNvram(fs: FileSystem, { nvramPath }: DomainPaths): Promise<void> {
  if (nvramPath === undefined) return;
  await ifAny(() => fs.unlink('restore:unlink-nvram', nvramPath));
  await ifAny(() => fs.syncDirectory('restore:sync-nvram', dirname(nvramPath)));
}

async function deviceFor(
  fs: FileSystem,
  paths: DomainPaths,
  capture: Capture,
): Promise<{ path: string; file: StateFile } | undefined> {
  const file = nvramIn(paths, capture);
  if (!paths.nvram?.device || !file || paths.nvramPath === undefined) return undefined;
  const path = await resolveDevice(fs, paths.nvramPath);
  return path === undefined ? undefined : { path, file };
}

/** In place: a device has no other name to write under. Written again by the next restore if a crash comes between. */
async function writeDevice(fs: FileSystem, path: string, file: StateFile): Promise<void> {
  const device = await fs.open('restore:open-device', path, 'overwrite');
  try {
    await writeAll(device, 'restore:write-device', file);
    await device.sync('restore:fsync-device');
  } finally {
    await device.close('restore:close-device');
  }
}

/** libvirt makes it when its daemon begins; without libvirt nobody may have. */
async function ensureDirectoryOf(fs: FileSystem, nvramPath: string): Promise<void> {
  const directory = dirname(nvramPath);
  if (await lstatIfAny(fs, 'restore:lstat-nvram-directory', directory)) return;
  await fs.mkdir('restore:mkdir-nvram-directory', directory, PASSABLE_DIRECTORY_MODE);
  await fs.syncDirectory('restore:sync-nvram-directory', dirname(directory));
}

/** @returns the NVRAM's final path when one is staged */
async function stageNvram(
  fs: FileSystem,
  paths: DomainPaths,
  capture: Capture,
  owner: Ownership | undefined,
): Promise<string | undefined> {
  const file = nvramIn(paths, capture);
  if (!file || paths.nvramPath === undefined) return undefined;
  const old = await lstatIfAny(fs, 'restore:lstat-nvram', paths.nvramPath);
  // A link, a device: QEMU works with what is behind it, which is not ours to replace.
  if (old && old.kind !== 'file') return undefined;
  await ensureDirectoryOf(fs, paths.nvramPath);
  const staged = stagedNvramPath(paths.nvramPath);
  await writeOwned(fs, staged, file, old ?? owner);
  const mode = (old ?? file).mode & NVRAM_MODE_BITS;
  if (mode !== FILE_MODE) await fs.chmod('restore:chmod-nvram', staged, mode | FILE_MODE);
  return paths.nvramPath;
}

async function writeOwned(
  fs: FileSystem,
  path: string,
  file: StateFile,
  ownership: Ownership | undefined,
): Promise<void> {
  await writeNewFile(fs, 'restore', path, file, ownership);
}

async function setOwner(fs: FileSystem, path: string, ownership: Ownership | undefined): Promise<void> {
  if (ownership) await fs.chown('restore:chown', path, ownership.uid, ownership.gid);
}

/** A directory that swtpm's user can pass through, as libvirt itself makes them. */
async function ensurePassableDirectory(fs: FileSystem, syncParent: CallSite, path: string): Promise<void> {
  const stat = await lstatIfAny(fs, 'restore:lstat', path);
  if (!stat) await fs.mkdir('restore:mkdir-passable', path, PASSABLE_DIRECTORY_MODE);
  // The umask may have taken bits away, and a crash may have come before they were given back.
  if (((stat?.mode ?? 0) & PASSABLE) !== PASSABLE) {
    await fs.chmod('restore:chmod-passable', path, PASSABLE_DIRECTORY_MODE);
  }
  await fs.syncDirectory(syncParent, dirname(path));
}

/** The directories above one that somebody chose: those that are there are not ours to change. */
async function makeWayTo(fs: FileSystem, directory: string): Promise<void> {
  if (await lstatIfAny(fs, 'restore:lstat-way', directory)) return;
  await makeWayTo(fs, dirname(directory));
  await fs.mkdir('restore:mkdir-way', directory, PASSABLE_DIRECTORY_MODE);
  await fs.chmod('restore:chmod-way', directory, PASSABLE_DIRECTORY_MODE);
  await fs.syncDirectory('restore:sync-way', dirname(directory));
}

/** A restore replaces the directory as a whole: in one that somebody chose there may be more than a TPM. */
async function expectAlone(fs: FileSystem, directory: string): Promise<void> {
  const names = await namesIn(fs, 'restore:readdir-own', directory);
  const other = names.find((name) => !OF_SWTPM.test(name));
  if (other === undefined) return;
  throw new MirrorError(
    'STATE_INVALID',
    `cannot restore into ${directory}: ${quoted(other)} lies in it, expected files of swtpm's alone`,
    { next: 'give the TPM a directory of its own in the domain; nothing was changed' },
  );
}

async function moveOut(fs: FileSystem, paths: DomainPaths, standing: Standing): Promise<void> {
  if (standing.size === 0) return;
  for (const role of standing.keys()) {
    await fs.rename('restore:move-out', tpmDirectory(paths, role), `${stagingDirectory(paths)}/old-${role}`);
  }
  await fs.syncDirectory('restore:sync-moved-out', paths.swtpmDirectory);
}

async function replaceNvram(fs: FileSystem, path: string): Promise<void> {
  await fs.rename('restore:rename-nvram', stagedNvramPath(path), path);
  await fs.syncDirectory('restore:sync-nvram', dirname(path));
}

async function moveIn(fs: FileSystem, paths: DomainPaths, capture: Capture): Promise<void> {
  for (const role of rolesOf(capture)) {
    await fs.rename('restore:move-in', `${stagingDirectory(paths)}/${role}`, tpmDirectory(paths, role));
  }
  await fs.syncDirectory('restore:sync-moved-in', paths.swtpmDirectory);
}

function rolesOf(capture: Capture): TpmDirectoryName[] {
  return TPM_DIRECTORY_NAMES.filter((role) => capture.files.some((file) => file.role === role));
}

async function sweep(fs: FileSystem, paths: DomainPaths): Promise<void> {
  await removeTree(fs, 'sweep-staging', stagingDirectory(paths), 'HOST_IO');
  const { nvramPath } = paths;
  if (nvramPath === undefined) return;
  await ifAny(() => fs.unlink('sweep-staging:unlink-nvram', stagedNvramPath(nvramPath)));
}
