/**
 * set-aside: the raw local files that a restore is about to replace, kept in this host's own state directory. They may be invalid, another
 * TPM's, or newer than anybody knows; whatever they are, the operator can get them back.
 *
 *   <state_dir>/set-aside/<uuid>/<time>-<digest>/{tpm2,tpm1.2,nvram}/<file>, why.txt
 *
 *   A1 gather    every file that a restore would take away; something that cannot be copied is refused, so nothing is dropped
 *   A2 write     under a temporary name, each file and directory synced
 *   A3 rename    to its final name, parent synced: from here on it is kept
 *   A4 prune     all but the newest `KEPT` of the domain
 *
 * I1 An entry is whole or absent (A3 after A2), and durable when this returns.
 * I2 Links are kept as links; nothing is read through one.
 * I3 The same content is kept once (its digest is in the name): a restore tried again and again does not push older entries out.
 */
import { NVRAM_FILE_NAME, STATE_FILE_BYTES_MAX, type Capture, type FileRole } from '../model/capture.js';
import { MirrorError } from '../model/errors.js';
import type { FileStat } from '../model/filesystem.js';
import { DIGEST_PREFIX_DIGITS } from '../model/generation-name.js';
import { sha256 } from '../model/hash.js';
import { removeTree } from '../model/remove-tree.js';
import { TPM_DIRECTORY_NAMES, tpmDirectory, type DomainPaths } from './domain-paths.js';
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

/**
 * Keeps a copy of the domain's local files, unless every one of them is in `unlessIn` as it is.
 *
 * @param why one line for whoever finds the copy
 * @returns the copy's directory, or `undefined` when there was nothing to keep
 * @throws MirrorError `STATE_INVALID` when something lies there that cannot be copied; `HOST_IO`
 */
export async function setAside(
  context: HostContext,
  paths: DomainPaths,
  why: string,
  unlessIn?: Capture,
): Promise<string | undefined> {
  return orHostError(`set aside the local state of ${paths.uuid}`, async () => {
    const files = await gather(context, paths);
    if (files.every((file) => isIn(unlessIn, file))) return undefined;
    const { fs, stateDirectory } = context;
    const home = await ensureDirectories(fs, 'set-aside', stateDirectory, 'set-aside', paths.uuid);
    const digest = sha256(files.map((file) => `${file.role}/${file.name} ${file.sha256}\n`).join(''));
    const suffix = `-${digest.slice(0, DIGEST_PREFIX_DIGITS)}`;
    const entries = await fs.readdir('set-aside:readdir', home);
    const same = entries.find((name) => !name.startsWith(TEMPORARY_PREFIX) && name.endsWith(suffix));
    if (same !== undefined) return `${home}/${same}`;
    const time = new Date(context.clock.nowMs()).toISOString();
    const entry = `${time.replaceAll(/[-:]|\.\d+/g, '')}${suffix}`;
    await write(context, home, entry, files, `${time} ${why}\n`);
    await prune(context, home, entry);
    return `${home}/${entry}`;
  });
}

async function gather({ fs }: HostContext, paths: DomainPaths): Promise<RawFile[]> {
  const files: RawFile[] = [];
  for (const role of TPM_DIRECTORY_NAMES) {
    const directory = tpmDirectory(paths, role);
    const names = (await namesIn(fs, 'set-aside:readdir-state', directory)).sort();
    if (names.length > FILES_MAX) throw tooMuch(directory, `${names.length} files`, `${FILES_MAX}`);
    let bytes = 0;
    for (const name of names) {
      const path = `${directory}/${name}`;
      const stat = await fs.lstat('set-aside:lstat', path);
      // A directory is refused whatever its name is: a restore could not clear it away.
      if (WORTHLESS.test(name) && stat.kind !== 'directory') continue;
      if (stat.kind === 'file') bytes += stat.size;
      if (bytes > BYTES_MAX) throw tooMuch(directory, `more than ${BYTES_MAX} bytes`, `${BYTES_MAX}`);
      files.push(await readRaw(fs, role, name, path, stat));
    }
  }
  if (paths.nvramPath === undefined) return files;
  const stat = await lstatIfAny(fs, 'set-aside:lstat', paths.nvramPath);
  // No restore replaces anything else.
  if (stat?.kind === 'file') files.push(await readRaw(fs, 'nvram', NVRAM_FILE_NAME, paths.nvramPath, stat));
  return files;
}

async function readRaw(
  fs: HostContext['fs'],
  role: FileRole,
  name: string,
  path: string,
  { kind }: FileStat,
): Promise<RawFile> {
  if (kind === 'symlink') {
    const target = await fs.readlink('set-aside:readlink', path);
    return { role, name, content: { target }, sha256: sha256(`link to ${target}`) };
  }
  if (kind !== 'file') throw uncopyable(path, kind === 'directory' ? 'a directory' : 'a special file');
  try {
    const { data } = await readRegular(fs, 'set-aside', path, STATE_FILE_BYTES_MAX);
    return { role, name, content: { data }, sha256: sha256(data) };
  } catch (error) {
    throw error instanceof UnfitFileError ? uncopyable(path, error.message) : error;
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

function tooMuch(directory: string, found: string, most: string): MirrorError {
  return new MirrorError(
    'STATE_INVALID',
    `cannot set local state aside: ${directory} holds ${found}, at most ${most} expected`,
    { next: `look at ${directory} and move what is no TPM state out of it; nothing was changed` },
  );
}

function uncopyable(path: string, what: string): MirrorError {
  return new MirrorError('STATE_INVALID', `cannot set local state aside: ${path} is ${what}`, {
    next: `look at ${path} and move it out of the domain's TPM directory; nothing was changed`,
  });
}
