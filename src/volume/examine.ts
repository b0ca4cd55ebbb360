/**
 * examine: whether a share behaves as the protocol needs it, tried on files that nobody else looks for.
 *
 *   P1 write a file, fsync   the server takes data, and its clock stamps it
 *   P2 symlink twice         the second must fail: the exclusive commit that all safety rests on
 *   P3 link, rename over     the marker's commit, and the writing aside of generations
 *   P4 remove all of it      what a crash leaves is a directory of this host's own, which the next examination removes
 */
import { errnoOf } from '../model/errors.js';
import type { FileSystemKind } from '../model/share-semantics.js';
import { ensureDirectory, unlinkIfThere, writeWhole } from './files.js';
import { DIRECTORY_MODE, hostsPath, newToken, TEMPORARY_PREFIX, type ShareContext } from './share-context.js';

export interface ShareExamination {
  readonly availableBytes: number;
  readonly totalBytes: number;
  readonly availableInodes: number;
  readonly kind: FileSystemKind;
  readonly mountOptions: readonly string[];
  /** The server's clock less this host's, ms, as far as one write tells. */
  readonly serverAheadMs: number;
  /** Whom the server gave this host's file to. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** What the share does not do as it must; none when all is well. */
  readonly faults: readonly string[];
}

const SCRATCH = '.doctor';
/** Begins the name of a directory in `hosts/` that a share is tried in before it is one. */
export const TRIAL_PREFIX = `${TEMPORARY_PREFIX}trial-`;
const NAMES = ['file', 'other', 'link', 'slot'];
const NS_PER_MS = 1_000_000n;

/** @throws system errors of the share */
export async function examine(context: ShareContext): Promise<ShareExamination> {
  const { fs, clock } = context;
  const own = `${hostsPath(context)}/${context.self.name}`;
  const scratch = `${own}/${SCRATCH}`;
  await clear(context, scratch);
  await ensureDirectory(fs, 'examine', hostsPath(context), own, DIRECTORY_MODE);
  await ensureDirectory(fs, 'examine', own, scratch, DIRECTORY_MODE);
  try {
    const beforeMs = clock.nowMs();
    await writeWhole(fs, 'examine', `${scratch}/file`, Buffer.from('examined\n'));
    const { mtimeNs, uid, gid } = await fs.lstat('examine:lstat', `${scratch}/file`);
    const nowMs = (beforeMs + clock.nowMs()) / 2;
    return {
      ...(await fs.statfs('examine:statfs', scratch)),
      serverAheadMs: Math.round(Number(mtimeNs / NS_PER_MS) - nowMs),
      owner: { uid, gid },
      faults: [...(await tryCommit(context, scratch)), ...(await tryRename(context, scratch))],
    };
  } finally {
    await clear(context, scratch);
  }
}

/**
 * Tries on a share that is about to be made what the protocol needs of it (P1 to P3).
 *
 * @returns what it does not do as it must; none when all is well
 * @throws system errors of the share
 */
export async function tryNewShare(context: ShareContext): Promise<readonly string[]> {
  const { fs } = context;
  const parent = hostsPath(context);
  const scratch = `${parent}/${TRIAL_PREFIX}${newToken(context)}`;
  await ensureDirectory(fs, 'examine', parent, scratch, DIRECTORY_MODE);
  try {
    await writeWhole(fs, 'examine', `${scratch}/file`, Buffer.from('tried\n'));
    const faults = [...(await tryCommit(context, scratch)), ...(await tryRename(context, scratch))];
    await fs.syncDirectory('examine:sync', scratch);
    return faults;
  } finally {
    // What a share that lacks something cannot remove harms nobody.
    await clear(context, scratch).catch(() => undefined);
  }
}

async function tryCommit({ fs }: ShareContext, scratch: string): Promise<string[]> {
  const slot = `${scratch}/slot`;
  await unlessRepeated('EEXIST', fs.symlink('examine:symlink', 'first', slot));
  const second = await fs.symlink('examine:symlink', 'second', slot).then(
    () => 'none',
    (error: unknown) => errnoOf(error) ?? 'unknown',
  );
  const kept = await fs.readlink('examine:readlink', slot);
  if (second === 'EEXIST' && kept === 'first') return [];
  return [`a second symbolic link in one place gave ${second} and left ${kept}, expected EEXIST and first`];
}

async function tryRename({ fs }: ShareContext, scratch: string): Promise<string[]> {
  const faults: string[] = [];
  await unlessRepeated('EEXIST', fs.link('examine:link', `${scratch}/file`, `${scratch}/link`));
  await writeWhole(fs, 'examine', `${scratch}/other`, Buffer.from('renamed\n'));
  const { inode } = await fs.lstat('examine:lstat', `${scratch}/other`);
  await unlessRepeated('ENOENT', fs.rename('examine:rename', `${scratch}/other`, `${scratch}/file`));
  const after = await fs.lstat('examine:lstat', `${scratch}/file`);
  if (after.inode !== inode) faults.push('a rename over a file left the old one');
  const linked = await fs.lstat('examine:lstat', `${scratch}/link`);
  if (linked.inode === inode) faults.push('a hard link followed a rename to another file');
  return faults;
}

/**
 * Nobody else changes names here. So this error is what the second try of a client is told, where the first
 * took place and its reply was lost; what is read afterwards shows what is there.
 */
async function unlessRepeated(code: 'EEXIST' | 'ENOENT', call: Promise<void>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (errnoOf(error) !== code) throw error;
  }
}

async function clear({ fs }: ShareContext, scratch: string): Promise<void> {
  for (const name of NAMES) await unlinkIfThere(fs, 'examine:unlink', `${scratch}/${name}`);
  await fs.rmdir('examine:rmdir', scratch).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
