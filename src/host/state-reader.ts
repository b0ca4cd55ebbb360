/**
 * state-reader: a domain's state files as a validated capture, while swtpm and QEMU may be writing them.
 *
 *   P1 look     open each known file once, by name, without following links, and read it to its end
 *   P2 judge    every TPM file must validate; what cannot show that it is whole (NVRAM, encrypted state) must also equal
 *               the look before it: inode, size, mtime and content
 *   P3 settle   what is missing, invalid or changing for now is looked at again after `settleMs`, `settleLooks` times in all
 *   P4 NVRAM    is waited for `NVRAM_LOOKS` times; then the TPM goes without it, and the capture says why
 *
 * I1 A capture never mixes two versions of one file: one descriptor gives one whole file, because swtpm 0.5 and newer rename; in-place writers
 *    (swtpm 0.4, QEMU on NVRAM) are caught by P2.
 * I2 Nothing outside the domain's own files is read, whatever swtpm's user put in their place: `<swtpm_dir>` and `<uuid>` belong to root, and
 *    below them only fixed names are opened, with O_NOFOLLOW.
 * I3 swtpm is never disturbed: `.lock`, `*.volatilestate` and `TMP2-*` are never opened, and nothing is written.
 * I4 The TPM alone decides whether there is a capture: whatever becomes of the NVRAM, it is in the capture or among its absent parts.
 * Not guaranteed: that TPM and NVRAM are of one instant; their writers know nothing of each other.
 */
import {
  compareStateFiles,
  STATE_FILE_BYTES_MAX,
  STATE_FILE_NAMES,
  type Capture,
  type SeenFile,
  type StateFile,
  type TpmDirectoryName,
} from '../model/capture.js';
import { contentBytes } from '../model/content.js';
import { sleep, type Clock } from '../model/environment.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { contentDigest, sha256 } from '../model/hash.js';
import { isCutOff, stateFault, stateFaultOf, type StateFault } from '../model/state-fault.js';
import { FILE_FORM } from '../model/nvram.js';
import { validateStateFile } from '../model/swtpm-blob.js';
import { tpmDirectory, tpmRoles, type DomainPaths } from './domain-paths.js';
import { ifAny, lstatIfAny, readRegular, UnfitFileError } from './files.js';
import { orHostError } from './host-error.js';
import { inMotion, readNvram, type NvramMemory, type NvramReading } from './nvram-reader.js';
import { movedLink } from './state-links.js';

export interface ReaderContext {
  readonly fs: FileSystem;
  readonly clock: Clock;
  /** How far apart two looks at the same files are. */
  readonly settleMs: number;
  /** How many looks are taken before giving up; at least 2. */
  readonly settleLooks: number;
  /** Where the TPM's files are read when they do not lie in the domain's own directory. @default there */
  readonly readTpm?: ReadTpm | undefined;
  /** What is known of its NVRAM from readings before. */
  readonly nvramMemory?: NvramMemory | undefined;
}

/** One look at the files of a domain's TPM. */
export type ReadTpm = () => Promise<readonly SeenFile[]>;

/** Looks at NVRAM that is written to before the TPM goes without it. */
const NVRAM_LOOKS = 3;

/** What one look found. */
interface Look {
  readonly tpm: readonly SeenFile[];
  readonly nvram: NvramReading;
}

/** Whether a writer at work can cause it, so that another reading may find better. */
function isPassing(error: unknown): error is MirrorError {
  return error instanceof MirrorError && (error.code === 'NO_STATE' || stateFaultOf(error) !== undefined);
}

/**
 * Reads the state of a domain that may be running.
 *
 * @throws MirrorError `NO_STATE` (retriable); a `StateFault`; `STATE_UNSTABLE` (retriable) when the files did not come to rest; `HOST_IO`
 */
export async function readState(context: ReaderContext, paths: DomainPaths): Promise<Capture> {
  let previous: Look | undefined;
  let obstacle: MirrorError | undefined;
  for (let looks = 0; looks < Math.max(2, context.settleLooks); looks++) {
    if (looks > 0) await sleep(context.clock, context.settleMs);
    try {
      const found = await look(context, paths);
      if (isSettled(found.tpm, previous?.tpm)) {
        if (isNvramSettled(found.nvram, previous?.nvram)) return toCapture(paths, found);
        if (looks + 1 >= NVRAM_LOOKS) return toCapture(paths, withoutNvram(found, paths));
      }
      previous = found;
      obstacle = undefined;
    } catch (error) {
      if (!isPassing(error)) throw error;
      previous = undefined;
      obstacle = error;
    }
  }
  throw obstacle ?? unstable(context, paths);
}

/**
 * Reads the state of a domain whose swtpm has ended: its files are final, so one look is enough.
 *
 * @throws MirrorError `NO_STATE`, a `StateFault`, `HOST_IO`
 */
export async function readStateNow(
  context: Pick<ReaderContext, 'fs' | 'readTpm'>,
  paths: DomainPaths,
): Promise<Capture> {
  return toCapture(paths, await look(context, paths));
}

/** @throws MirrorError `NO_STATE`, a `StateFault`, `HOST_IO`: of the TPM alone */
async function look(
  { fs, readTpm, nvramMemory }: Pick<ReaderContext, 'fs' | 'readTpm' | 'nvramMemory'>,
  paths: DomainPaths,
): Promise<Look> {
  return orHostError(`read the state of ${paths.uuid}`, async () => {
    const tpm = [...(await (readTpm ? readTpm() : seeTpm(fs, paths)))];
    const lost =
      tpm.length === 0 ? (paths.own?.directory ?? paths.swtpmDirectory) : missingPermanentState(paths, tpm);
    if (lost !== undefined) throw (await linkTakenAway(fs, paths)) ?? noState(paths, lost);
    return { tpm, nvram: await readNvram(fs, paths, nvramMemory) };
  });
}

async function seeTpm(fs: FileSystem, paths: DomainPaths): Promise<SeenFile[]> {
  const files: SeenFile[] = [];
  const faults: MirrorError[] = [];
  for (const role of await tpmDirectories(fs, paths)) {
    for (const name of STATE_FILE_NAMES[role]) {
      try {
        files.push(...(await seeFile(fs, paths, role, name)));
      } catch (error) {
        if (stateFaultOf(error) === undefined) throw error;
        faults.push(asMirrorError(error));
      }
    }
  }
  const fault = gravestOf(faults);
  if (fault) throw faultOfAll(paths, fault, files);
  return files;
}

/** What a state with these faults is: cut off only where that is all that is wrong with it. */
function gravestOf(faults: readonly MirrorError[]): MirrorError | undefined {
  const first = (isMeant: (fault: StateFault) => boolean): MirrorError | undefined =>
    faults.find((error) => isMeant(stateFaultOf(error) ?? 'damaged'));
  return first((fault) => !isCutOff(fault)) ?? first((fault) => fault === 'zeroed') ?? faults[0];
}

/** A file that is torn beside permanent state that is whole says nothing against that. */
function faultOfAll(paths: DomainPaths, error: MirrorError, whole: readonly SeenFile[]): MirrorError {
  const { message, next } = error;
  if (!isCutOff(stateFaultOf(error) ?? 'damaged') || !whole.some(isPermanent)) return error;
  const all = `${message}, and other files of ${paths.uuid} are whole`;
  return stateFault('damaged', all, { next, cause: error });
}

function isPermanent({ name }: Pick<SeenFile, 'name'>): boolean {
  return name.endsWith('.permall');
}

async function tpmDirectories(fs: FileSystem, paths: DomainPaths): Promise<TpmDirectoryName[]> {
  if (!(await isDirectory(fs, paths.swtpmDirectory))) return [];
  const found: TpmDirectoryName[] = [];
  for (const role of tpmRoles(paths)) {
    if (await isDirectory(fs, tpmDirectory(paths, role))) found.push(role);
  }
  return found;
}

async function isDirectory(fs: FileSystem, path: string): Promise<boolean> {
  const stat = await lstatIfAny(fs, 'read-state:lstat', path);
  if (stat && stat.kind !== 'directory') {
    throw unfit(path, stat.kind === 'symlink' ? 'a symbolic link' : 'no directory');
  }
  return stat !== undefined;
}

/** The file, or nothing when it is missing. */
async function seeFile(
  fs: FileSystem,
  paths: DomainPaths,
  role: TpmDirectoryName,
  name: string,
): Promise<SeenFile[]> {
  const path = `${tpmDirectory(paths, role)}/${name}`;
  const reading = await ifAny(() => readRegular(fs, 'read-state', path, STATE_FILE_BYTES_MAX)).catch(
    (error: unknown) => {
      throw error instanceof UnfitFileError ? unfit(path, error.message) : error;
    },
  );
  if (!reading) return [];
  const { stat, data } = reading;
  const { inode, mode, mtimeNs } = stat;
  const owner = { uid: stat.uid, gid: stat.gid, user: '', group: '' };
  const file = { role, name, mode, mtimeNs, owner, data, sha256: sha256(data), inode };
  const { identity, selfValidating } = validateStateFile(role, name, data);
  return [{ ...file, identity, selfValidating }];
}

/** Where permanent state is missing beside other files of its TPM: with those alone swtpm makes a blank TPM. */
function missingPermanentState(paths: DomainPaths, files: readonly SeenFile[]): string | undefined {
  const bare = tpmRoles(paths).find((role) => {
    const names = files.filter((file) => file.role === role).map((file) => file.name);
    return names.length > 0 && !names.some((name) => isPermanent({ name }));
  });
  if (bare && files.some(isPermanent)) throw twoTpms(tpmDirectory(paths, bare));
  return bare && tpmDirectory(paths, bare);
}

function isSettled(files: readonly SeenFile[], previous: readonly SeenFile[] | undefined): boolean {
  return files.every((file) => file.selfValidating || previous?.some((earlier) => isSame(file, earlier)));
}

/** NVRAM that is missing, or empty, for a moment only is waited for. What is never read need not be. */
function isNvramSettled(found: NvramReading, previous: NvramReading | undefined): boolean {
  switch (found.kind) {
    case 'none':
      return true;
    case 'read':
      return found.file.selfValidating || (previous?.kind === 'read' && isSame(found.file, previous.file));
    case 'absent':
      return found.part.kind === 'unfit' || previous?.kind === 'absent';
  }
}

function withoutNvram({ tpm, nvram }: Look, { nvramPath, nvram: form = FILE_FORM }: DomainPaths): Look {
  const { role } = form;
  const inSight = nvram.kind === 'read' && nvramPath !== undefined;
  return { tpm, nvram: inSight ? { kind: 'absent', part: inMotion(role, nvramPath) } : nvram };
}

function isSame(a: SeenFile, b: SeenFile): boolean {
  return (
    compareStateFiles(a, b) === 0 &&
    a.inode === b.inode &&
    a.mtimeNs === b.mtimeNs &&
    contentBytes(a) === contentBytes(b) &&
    a.sha256 === b.sha256
  );
}

function toCapture(paths: DomainPaths, { tpm, nvram }: Look): Capture {
  const files = [...tpm, ...(nvram.kind === 'read' ? [nvram.file] : [])].sort(compareStateFiles).map(toFile);
  const identity = tpm.find((file) => file.identity !== undefined)?.identity;
  const capture = { uuid: paths.uuid, files, digest: contentDigest(files), identity };
  return nvram.kind === 'absent' ? { ...capture, absent: [nvram.part] } : capture;
}

function toFile({ role, name, mode, mtimeNs, owner, data, tail, sha256 }: SeenFile): StateFile {
  return { role, name, mode, mtimeNs, ...(owner && { owner }), data, ...(tail && { tail }), sha256 };
}

async function linkTakenAway(fs: FileSystem, paths: DomainPaths): Promise<MirrorError | undefined> {
  const link = await movedLink(fs, paths);
  return (
    link &&
    stateFault(
      'unreadable',
      `cannot read the state of ${paths.uuid}: ${link.path} was a link to ${link.target}, which was taken away because undefining the domain would have emptied it`,
      { next: `move what is in ${link.target} to ${link.path}; nothing of it was changed` },
    )
  );
}

function twoTpms(bare: string): MirrorError {
  return new MirrorError(
    'STATE_INVALID',
    `${bare} holds no permanent state, and another TPM beside it does`,
    {
      next: `see whose ${bare} is, and move it away if the domain's TPM is the other one`,
    },
  );
}

function noState(paths: DomainPaths, missing: string): MirrorError {
  return new MirrorError('NO_STATE', `cannot read the state of ${paths.uuid}: no TPM state in ${missing}`, {
    next: 'start the domain with a TPM device, or check `libvirt.swtpm_dir` in the configuration',
    retriable: true,
  });
}

function unstable({ settleLooks, settleMs }: ReaderContext, paths: DomainPaths): MirrorError {
  const looks = `${settleLooks} looks, ${settleMs} ms apart`;
  return new MirrorError(
    'STATE_UNSTABLE',
    `cannot read the state of ${paths.uuid}: its files kept changing during ${looks}`,
    { next: 'nothing to do: it is read again when the files come to rest', retriable: true },
  );
}

function unfit(path: string, what: string): MirrorError {
  return stateFault('unreadable', `cannot read TPM state: ${path} is ${what}`, {
    next: 'put the file or directory itself in its place: state is never read through a link or from another kind of file',
  });
}
