/**
 * own-place: whether a directory that a domain's owner chose for its TPM can be worked in, and which one
 * it really is.
 *
 * I1 Links are followed here, once, and never again: what is read and restored is the place that they led to.
 * I2 Nobody but root can put another directory there: every directory above it belongs to root (or to this
 *    program's user) and is written by nobody else, or is a sticky one in which the next belongs to root.
 * I3 No two domains share a place, and none lies in the share, in this program's own directories or in the
 *    place of another domain.
 */
import { dirname, posix } from 'node:path';
import { plainDirectory, type DomainCare, type OwnTpmDirectory } from '../libvirt/domain-care.js';
import type { Config } from '../model/config.js';
import { asMirrorError, errnoOf, MirrorError } from '../model/errors.js';
import type { FileStat, FileSystem } from '../model/filesystem.js';
import { quoted, type DomainUuid } from '../model/identifiers.js';
import type { Journal } from '../host/journal.js';
import type { LeftOut } from './left-out.js';

const LINKS_MAX = 16;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

export interface OwnPlaceContext {
  readonly fs: FileSystem;
  readonly config: Config;
  readonly journal: Pick<Journal, 'list'>;
  /** @default this process's */
  readonly uid?: number;
}

/**
 * @returns `undefined` when it is libvirt's own place after all
 * @throws MirrorError `TPM_PLACE_UNFIT`
 */
export async function settleOwnPlace(
  context: OwnPlaceContext,
  uuid: DomainUuid,
  { role, directory }: OwnTpmDirectory,
): Promise<OwnTpmDirectory | undefined> {
  const { fs, config, journal } = context;
  const place = await followed(context, directory);
  const rootOf = async (path: string): Promise<readonly string[]> => {
    const plain = plainDirectory(path) ?? path;
    return [plain, await resolved(fs, plain)];
  };
  const swtpmDirs = await rootOf(config.libvirt.swtpmDir);
  if (swtpmDirs.some((root) => place === `${root}/${uuid}/${role}`)) return undefined;
  for (const [what, path] of [
    ['the share', config.share],
    ['state_dir', config.stateDir],
    ['run_dir', config.runDir],
  ] as const) {
    if ((await rootOf(path)).some((root) => overlap(place, root))) {
      throw unfit(
        directory,
        `it lies in ${what}, where swtpm's files would get in the way of this program's`,
      );
    }
  }
  const own = swtpmDirs.map((root) => `${root}/${uuid}`);
  const isOthers = swtpmDirs.some((root) => overlap(place, root)) && !own.some((home) => isIn(place, home));
  if (isOthers) throw unfit(directory, 'libvirt keeps TPMs of other domains there');
  const { records } = await journal.list();
  const other = records.find((one) => one.uuid !== uuid && one.tpm && overlap(one.tpm.directory, place));
  if (other) {
    throw unfit(directory, `${quoted(other.name)} (${other.uuid}) has its TPM there`);
  }
  return { role, directory: place };
}

/**
 * The same of a domain that runs already: it is not looked after where it may not work.
 *
 * @returns `null`: libvirt's own place
 */
export async function placeOf(
  context: OwnPlaceContext,
  { uuid, name, own }: Extract<DomainCare, { kind: 'looked-after' }>,
): Promise<{ readonly tpm: OwnTpmDirectory | null } | LeftOut> {
  try {
    return { tpm: (own && (await settleOwnPlace(context, uuid, own))) ?? null };
  } catch (error) {
    const { code, message } = asMirrorError(error);
    if (code !== 'TPM_PLACE_UNFIT') throw error;
    return { uuid, name, why: message, isAskedFor: false };
  }
}

/** The directory with no link on the way to it; what is not there yet is not followed. */
async function followed(
  { fs, uid = process.getuid?.() ?? 0 }: OwnPlaceContext,
  asked: string,
): Promise<string> {
  const isOurs = (stat: FileStat): boolean => stat.uid === 0 || stat.uid === uid;
  let left = asked.split('/').filter((name) => name !== '');
  let here = '/';
  let links = 0;
  for (let above = await fs.lstat('own-place:lstat', here); left.length > 0;) {
    const [name = '', ...rest] = left;
    const path = posix.join(here, name);
    const isOpen = (above.mode & OTHERS_WRITE) !== 0;
    const stat = await statOf(fs, path);
    if (!isOurs(above) || (isOpen && ((above.mode & STICKY) === 0 || !stat || !isOurs(stat)))) {
      throw unfit(asked, `others than root can put another directory into ${here}`);
    }
    if (!stat) return posix.join(path, ...rest);
    if (stat.kind === 'symlink') {
      links += 1;
      if (links > LINKS_MAX) throw unfit(asked, 'it leads through too many links');
      const target = await fs.readlink('own-place:readlink', path);
      left = [
        ...posix
          .resolve(here, target)
          .split('/')
          .filter((part) => part !== ''),
        ...rest,
      ];
      here = '/';
      above = await fs.lstat('own-place:lstat', here);
      continue;
    }
    if (stat.kind !== 'directory') throw unfit(asked, `${path} is no directory`);
    [here, above, left] = [path, stat, rest];
  }
  if (here === '/') throw unfit(asked, 'it is the root directory');
  return here;
}

async function statOf(fs: FileSystem, path: string): Promise<FileStat | undefined> {
  try {
    return await fs.lstat('own-place:lstat', path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Where a directory of the configuration's is, all links followed; itself where that cannot be told. */
async function resolved(fs: FileSystem, path: string): Promise<string> {
  for (let [here, rest, links] = [path, '', 0]; ;) {
    const stat = await statOf(fs, here).catch(() => undefined);
    if (stat?.kind === 'symlink' && links < LINKS_MAX) {
      const target = await fs.readlink('own-place:readlink', here);
      here = posix.resolve(dirname(here), target);
      links += 1;
      continue;
    }
    const above = dirname(here);
    if (above === here) return rest === '' ? '/' : rest;
    rest = `/${posix.basename(here)}${rest}`;
    here = above;
  }
}

function isIn(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

function overlap(one: string, other: string): boolean {
  return isIn(one, other) || isIn(other, one);
}

function unfit(directory: string, why: string): MirrorError {
  return new MirrorError(
    'TPM_PLACE_UNFIT',
    `the TPM's state cannot be kept in ${quoted(directory)}: ${why}`,
    {
      next: "give the TPM a directory of its own, below directories that only root writes to, in the domain's <source type='dir' path=…>; or leave <source> out, for libvirt's own place",
    },
  );
}
