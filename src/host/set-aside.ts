/**
 * set-aside: the raw local files that a restore is about to replace, kept in this host's own state directory. They may be invalid, another
 * TPM's, or newer than anybody knows; whatever they are, the operator can get them back.
 *
 *   <state_dir>/set-aside/<uuid>/<time>-<digest>/{tpm2,tpm1.2,nvram}/<file>, why.txt
 *
 *   A1 gather    every file that a restore would take away
 *   A2 write     under a temporary name, each file and directory synced
 *   A3 rename    to its final name, parent synced: from here on it is kept
 *   A4 prune     all but the newest `KEPT` of the domain
 *   A5 move      what cannot be copied (a directory, what is too large or too much)
 *                goes to a directory of its own beside the domain's, by one rename each, and is never pruned
 *
 * What has no content (a socket, a FIFO, a device) is left to go with the old directory, and named in why.txt.
 *
 * I1 An entry is whole or absent (A3 after A2), and durable when this returns.
 * I2 Links are kept as links; nothing is read through one.
 * I4 Nothing that lies beside a state refuses its restore.
 * I3 The same content is kept once (its digest is in the name): a restore tried again and again does not push older entries out.
 */
import { basename, dirname } from 'node:path';
import {
  bytesMaxOf,
  isTpmRole,
  partFileName,
  STATE_FILE_BYTES_MAX,
  type Capture,
  type FileRole,
  type TpmDirectoryName,
} from '../model/capture.js';
import type { MirrorError } from '../model/errors.js';
import type { FileStat } from '../model/filesystem.js';
import { DIGEST_PREFIX_DIGITS } from '../model/generation-name.js';
import { sha256 } from '../model/hash.js';
import { removeTree } from '../model/remove-tree.js';
import { FILE_FORM } from '../model/nvram.js';
import { stateFault } from '../model/state-fault.js';
import { leftoversDirectory, tpmDirectory, tpmRoles, type DomainPaths } from './domain-paths.js';
import {
  ensureDirectories,
  lstatIfAny,
  namesIn,
  readRegular,
  UnfitFileError,
  writeNewFile,
} from './files.js';
import { orHostError } from './host-error.js';
import { DIRECTORY_MODE, TEMPORARY_PREFIX, type HostContext } from './host-context.js';

/** Entries kept per domain. */
const KEPT = 3;
/** A TPM's directory holds a handful of files; whatever fills it belongs to swtpm's user, who is not trusted with this host's memory and disk. */
const FILES_MAX = 64;
const BYTES_MAX = 4 * STATE_FILE_BYTES_MAX;
/** What swtpm makes again by itself and nobody wants back. */
const WORTHLESS = /^(\.lock|TMP2?-.*|.*\.volatilestate)$/;

interface RawFile {
  readonly role: FileRole;
  readonly name: string;
  /** A link's target, or a file's content. */
  readonly content: { readonly target: string } | { readonly data: Uint8Array };
  readonly sha256: string;
}

/** Something that a restore takes away and that is no state. */
interface Leftover {
  readonly role: TpmDirectoryName;
  readonly name: string;
  readonly path: string;
  /** Continues `it is …`. */
  readonly what: string;
}

interface Gathered {
  readonly files: readonly RawFile[];
  /** To be moved as they are. */
  readonly moved: readonly Leftover[];
  /** Without content. */
  readonly dropped: readonly Leftover[];
}

/**
 * Keeps a copy of the domain's local files, unless every one of them is in `unlessIn` as it is.
 *
 * @param withNvram whether the firmware variables are replaced, too
 * @param why one line for whoever finds the copy
 * @returns the copy's directory, or `undefined` when there was nothing to keep
 * @throws MirrorError `HOST_IO`
 */
export async function setAside(
  context: HostContext,
  paths: DomainPaths,
  why: string,
  unlessIn?: Capture,
  withNvram = true,
): Promise<string | undefined> {
  return orHostError(`set aside the local state of ${paths.uuid}`, async () => {
    const gathered = await gather(context, withNvram ? paths : { ...paths, nvramPath: undefined });
    const entry = await keepCopies(context, paths, gathered, why, unlessIn);
    await moveLeftovers(context, paths, gathered.moved);
    return entry;
  });
}

/**
 * Keeps a copy of the domain's TPM files beside what stands there, where that may be deleted by
 * somebody else. Nothing is moved or removed.
 *
 * @returns the copy's directory, or `undefined` when there is nothing to keep
 * @throws MirrorError `HOST_IO`
 */
export async function keepAside(
  context: HostContext,
  paths: DomainPaths,
  why: string,
): Promise<string | undefined> {
  return orHostError(`keep a copy of the local state of ${paths.uuid}`, async () => {
    const { files } = await gather(context, { ...paths, nvramPath: undefined });
    return await keepCopies(context, paths, { files, moved: [], dropped: [] }, why, undefined);
  });
}

async function keepCopies(
  context: HostContext,
  paths: DomainPaths,
  { files, moved, dropped }: Gathered,
  why: string,
  unlessIn: Capture | undefined,
): Promise<string | undefined> {
  if (files.every((file) => isIn(unlessIn, file)) && moved.length === 0) return undefined;
  const { fs, stateDirectory } = context;
  const home = await ensureDirectories(fs, 'set-aside', stateDirectory, 'set-aside', paths.uuid);
  const digest = sha256(files.map((file) => `${file.role}/${file.name} ${file.sha256}\n`).join(''));
  const suffix = `-${digest.slice(0, DIGEST_PREFIX_DIGITS)}`;
  const entries = await fs.readdir('set-aside:readdir', home);
  const same = entries.find((name) => !name.startsWith(TEMPORARY_PREFIX) && name.endsWith(suffix));
  if (same !== undefined) return `${home}/${same}`;
  const time = new Date(context.clock.nowMs()).toISOString();
  const entry = `${time.replaceAll(/[-:]|\.\d+/g, '')}${suffix}`;
  const notes = [
    `${time} ${why}`,
    ...moved.map(({ path, what }) => `${path} is ${what}: moved to ${leftoversDirectory(paths)}`),
    ...dropped.map(({ path, what }) => `${path} was ${what}, without content: not kept`),
  ];
  await write(context, home, entry, files, `${notes.join('\n')}\n`);
  await prune(context, home, entry);
  return `${home}/${entry}`;
}

async function gather({ fs }: HostContext, paths: DomainPaths): Promise<Gathered> {
  const found: { files: RawFile[]; moved: Leftover[]; dropped: Leftover[] } = {
    files: [],
    moved: [],
    dropped: [],
  };
  for (const role of tpmRoles(paths)) {
    const directory = tpmDirectory(paths, role);
    const names = (await namesIn(fs, 'set-aside:readdir-state', directory)).sort(stateFirst);
    let bytes = 0;
    for (const [at, name] of names.entries()) {
      const path = `${directory}/${name}`;
      const { kind, size } = await fs.lstat('set-aside:lstat', path);
      const leftover = (what: string): Leftover => ({ role, name, path, what });
      if (WORTHLESS.test(name) && kind !== 'directory') continue;
      if (kind === 'other' || kind === 'block') {
        found.dropped.push(leftover('a socket, a FIFO or a device'));
        continue;
      }
      bytes += kind === 'file' ? size : 0;
      const tooMuch = kind === 'directory' || size > STATE_FILE_BYTES_MAX || bytes > BYTES_MAX;
      const raw = tooMuch || at >= FILES_MAX ? undefined : await readRaw(fs, role, name, path, kind);
      if (raw) found.files.push(raw);
      else found.moved.push(leftover(kind === 'directory' ? 'a directory' : 'no file that can be copied'));
    }
  }
  const nvram = await readNvram(fs, paths);
  return { ...found, files: nvram ? [...found.files, nvram] : found.files };
}

/** State files come before whatever else fills the directory, so that they are never too many. */
function stateFirst(a: string, b: string): number {
  const rank = (name: string): number => (name.endsWith('.permall') || name.endsWith('.savestate') ? 0 : 1);
  return rank(a) - rank(b) || (a < b ? -1 : 1);
}

async function readNvram(
  fs: HostContext['fs'],
  { nvramPath: path, nvram = FILE_FORM }: DomainPaths,
): Promise<RawFile | undefined> {
  if (path === undefined) return undefined;
  const { role } = nvram;
  const stat = await lstatIfAny(fs, 'set-aside:lstat', path);
  // No restore replaces anything else.
  return stat?.kind === 'file' ? await readRaw(fs, role, partFileName(role), path, stat.kind) : undefined;
}

/** @returns `undefined` for what is no file of a bounded size by now */
async function readRaw(
  fs: HostContext['fs'],
  role: FileRole,
  name: string,
  path: string,
  kind: FileStat['kind'],
): Promise<RawFile | undefined> {
  if (kind === 'symlink') {
    const target = await fs.readlink('set-aside:readlink', path);
    return { role, name, content: { target }, sha256: sha256(`link to ${target}`) };
  }
  try {
    const { data } = await readRegular(fs, 'set-aside', path, bytesMaxOf(role));
    return { role, name, content: { data }, sha256: sha256(data) };
  } catch (error) {
    if (!(error instanceof UnfitFileError)) throw error;
    if (!isTpmRole(role)) throw uncopyable(path, error.message);
    return undefined;
  }
}

/** A5. */
async function moveLeftovers(
  { fs, random }: HostContext,
  paths: DomainPaths,
  leftovers: readonly Leftover[],
): Promise<void> {
  if (leftovers.length === 0) return;
  const home = leftoversDirectory(paths);
  await ensureDirectories(fs, 'set-aside', dirname(home), basename(home));
  for (const { role, name, path } of leftovers) {
    await fs.rename('set-aside:move-leftover', path, `${home}/${role}-${random.hex(4)}-${name}`);
  }
  await fs.syncDirectory('set-aside:sync-leftovers', home);
  for (const role of new Set(leftovers.map((leftover) => leftover.role))) {
    await fs.syncDirectory('set-aside:sync-left', tpmDirectory(paths, role));
  }
}

function isIn(capture: Capture | undefined, raw: RawFile): boolean {
  return (capture?.files ?? []).some(
    (file) => file.role === raw.role && file.name === raw.name && file.sha256 === raw.sha256,
  );
}

async function write(
  { fs, random }: HostContext,
  home: string,
  entry: string,
  files: readonly RawFile[],
  why: string,
): Promise<void> {
  const temporary = `${home}/${TEMPORARY_PREFIX}${random.hex(8)}`;
  await fs.mkdir('set-aside:mkdir-entry', temporary, DIRECTORY_MODE);
  for (const role of new Set(files.map((file) => file.role))) {
    const directory = `${temporary}/${role}`;
    await fs.mkdir('set-aside:mkdir-role', directory, DIRECTORY_MODE);
    for (const { name, content } of files.filter((file) => file.role === role)) {
      const path = `${directory}/${name}`;
      if ('target' in content) await fs.symlink('set-aside:symlink', content.target, path);
      else await writeNewFile(fs, 'set-aside', path, content.data);
    }
    await fs.syncDirectory('set-aside:sync-role', directory);
  }
  await writeNewFile(fs, 'set-aside', `${temporary}/why.txt`, new TextEncoder().encode(why));
  await fs.syncDirectory('set-aside:sync-entry', temporary);
  await fs.rename('set-aside:rename', temporary, `${home}/${entry}`);
  await fs.syncDirectory('set-aside:sync-home', home);
}

/** Removes what crashes left and all but the newest entries; `latest` stays even if the clock was set back. */
async function prune({ fs }: HostContext, home: string, latest: string): Promise<void> {
  const names = (await fs.readdir('set-aside:readdir', home)).sort();
  const leftovers = names.filter((name) => name.startsWith(TEMPORARY_PREFIX));
  const older = names.filter((name) => name !== latest && !name.startsWith(TEMPORARY_PREFIX));
  const surplus = older.slice(0, Math.max(0, older.length - (KEPT - 1)));
  for (const name of [...leftovers, ...surplus]) {
    await removeTree(fs, 'set-aside-prune', `${home}/${name}`, 'HOST_IO');
  }
}

function uncopyable(path: string, what: string): MirrorError {
  return stateFault('unreadable', `cannot set local state aside: ${path} is ${what}`, {
    next: `see what ${path} is, and put the NVRAM itself in its place; nothing was changed`,
  });
}
