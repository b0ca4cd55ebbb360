/**
 * storage-user: as which user a new host shall work on its share.
 *
 *   the share is one already     as its other hosts do: as the user whom its files belong to
 *   an empty directory           as its owner, where that is not root; otherwise as `OWN_ID`, who is nobody
 *                                on any host, and whom the directory is given to
 *
 * I1 Nobody is chosen who could not write there a moment ago.
 * I2 Nor anybody whose other programs and sessions could reach into the process that works on the share: people,
 *    and the users of QEMU and swtpm. Whoever can write to the share can choose whom its files belong to.
 * I3 Where nobody else will do it is root, and that is told with the reason.
 */
import { lchown, lstat, readdir } from 'node:fs/promises';
import { isSystemId, nameOfId, readAccounts, type Accounts } from '../host/accounts.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';

/** Of a range that no distribution, directory service or container takes users from. */
export const OWN_ID = 60_900;

export interface StorageUser {
  readonly uid: number;
  readonly gid: number;
  /** In words, after "user N" or "root". */
  readonly why: string;
}

export interface StorageUserQuestion {
  /** The share's directory, as this host has it. */
  readonly directory: string;
  readonly fs: FileSystem;
  /** Nothing is given away. */
  readonly dryRun: boolean;
  readonly tryWriting: (
    directory: string,
    user: Pick<StorageUser, 'uid' | 'gid'>,
  ) => Promise<{ readonly kind: 'written' } | { readonly kind: 'refused'; readonly why: string }>;
}

const MARKER = 'swtpm-mirror.json';
/** What the top of a file system holds beside us. */
const EMPTY_ALL_THE_SAME = new Set(['lost+found']);
const GUESTS = /qemu|libvirt|swtpm|^tss$/;

/** @throws MirrorError `USAGE` when there is no such directory; `SHARE_UNAVAILABLE` when it cannot be read */
export async function chooseStorageUser(question: StorageUserQuestion): Promise<StorageUser> {
  const { directory } = question;
  const top = await ownerOf(directory);
  if (!top?.isDirectory) {
    throw new MirrorError('USAGE', `${directory} is not a directory`, {
      next: 'mount the export there first, or make the directory; nothing was changed',
    });
  }
  const marker = await ownerOf(`${directory}/${MARKER}`);
  if (marker) return await asOthersDo(question, marker);
  if (top.uid !== 0) return await asOwner(question, top);
  return await asNobodyElse(question, top.gid);
}

async function asOthersDo(question: StorageUserQuestion, marker: Owner): Promise<StorageUser> {
  if (marker.uid === 0) {
    return root('the share belongs to root, as whom its other hosts work; see `swtpm-mirror doctor`');
  }
  const why = 'whom the files of the share belong to';
  return await accepted(question, `${question.directory}/hosts`, marker, why);
}

async function asOwner(question: StorageUserQuestion, top: Owner): Promise<StorageUser> {
  return await accepted(question, question.directory, top, `whom ${question.directory} belongs to`);
}

async function asNobodyElse(question: StorageUserQuestion, gid: number): Promise<StorageUser> {
  const { directory, fs, dryRun, tryWriting } = question;
  const names = await readdir(directory).catch(() => undefined);
  if (!names?.every((name) => EMPTY_ALL_THE_SAME.has(name))) {
    return root(`${directory} belongs to root, and is not empty`);
  }
  if (nameOf(await readAccounts(fs), OWN_ID) !== '') return root(`user ${String(OWN_ID)} is somebody here`);
  const user = { uid: OWN_ID, gid: OWN_ID, why: `who is nobody else, and has been given ${directory}` };
  if (dryRun) return { ...user, why: `who is nobody else, and would be given ${directory}` };
  try {
    await lchown(directory, OWN_ID, OWN_ID);
  } catch (error) {
    return root(
      `the export does not let ${directory} be given to another user (${errnoOf(error) ?? 'error'})`,
    );
  }
  const trial = await tryWriting(directory, user);
  if (trial.kind === 'written') return user;
  await lchown(directory, 0, gid).catch(() => undefined);
  return root(`user ${String(OWN_ID)} cannot write to ${directory}: ${trial.why}`);
}

async function accepted(
  { fs, tryWriting }: StorageUserQuestion,
  where: string,
  { uid, gid }: Owner,
  why: string,
): Promise<StorageUser> {
  const refusal = refusalOf(await readAccounts(fs), uid);
  if (refusal !== undefined) return root(refusal);
  // Root's group would leave it some of root's rights.
  const user = { uid, gid: gid === 0 ? uid : gid, why };
  const trial = await tryWriting(where, user);
  return trial.kind === 'written'
    ? user
    : root(`user ${String(uid)}, ${why}, cannot write to ${where}: ${trial.why}`);
}

/** I2. */
function refusalOf(accounts: Accounts, uid: number): string | undefined {
  const name = nameOf(accounts, uid);
  if (name === '' || name === 'nobody') return undefined;
  if (isSystemId(uid) && !GUESTS.test(name)) return undefined;
  return `the share belongs to user ${String(uid)}, who is ${name} on this host and must not reach into its work`;
}

function nameOf({ users }: Accounts, uid: number): string {
  return nameOfId(users, uid);
}

function root(why: string): StorageUser {
  return { uid: 0, gid: 0, why };
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly isDirectory: boolean;
}

async function ownerOf(path: string): Promise<Owner | undefined> {
  try {
    const stat = await lstat(path);
    return { uid: stat.uid, gid: stat.gid, isDirectory: stat.isDirectory() };
  } catch (error) {
    const errno = errnoOf(error) ?? 'error';
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    // What cannot be read is not known to be absent.
    throw new MirrorError('SHARE_UNAVAILABLE', `cannot read ${path}: ${errno}`, {
      next: 'mend the mount, then run `install` again; nothing was changed',
      cause: error,
    });
  }
}
