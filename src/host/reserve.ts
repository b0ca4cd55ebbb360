/**
 * reserve: room on this host's disk for the day on which somebody else has filled it: what is spooled can then still be handed to the share, for
 * which a lock and some records of the journal are needed, and a last state be spooled.
 *
 *   <state_dir>/reserve     of no meaning; as long as `RESERVE_BYTES`
 *
 * Whoever meets a full disk removes the file and tries again, once. The agent makes it anew when there is room.
 * Not guaranteed: that the room is ours once the file is gone, when others write all the time.
 */
import type { Random } from '../model/environment.js';
import { writeDurable } from '../model/durable-file.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { ifAny, lstatIfAny } from './files.js';
import { orHostError } from './host-error.js';
import { TEMPORARY_PREFIX } from './host-context.js';

export const RESERVE_BYTES = 1024 * 1024;
/** As many reserves must be free before one is made, so that it is never what fills the disk. */
const ROOM_FACTOR = 4;
const FULL: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT']);

export interface ReserveContext {
  readonly fs: FileSystem;
  readonly stateDirectory: string;
}

/** Runs `work`, and once more when the disk was full and the reserve could be given up for it. */
export async function orFromReserve<T>(context: ReserveContext, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!FULL.has(errnoOf(error)) || !(await giveUp(context))) throw error;
    return await work();
  }
}

/** @returns whether there was one */
async function giveUp({ fs, stateDirectory }: ReserveContext): Promise<boolean> {
  try {
    await fs.unlink('reserve:unlink', pathIn(stateDirectory));
    // A file system may hold back what was freed until it has noted that on its disk.
    await fs.syncDirectory('reserve:sync', stateDirectory);
    return true;
  } catch {
    // That the disk is full is the error to tell.
    return false;
  }
}

/**
 * Makes the reserve unless it is there.
 *
 * @throws MirrorError `HOST_IO` when the disk has no room for it
 */
export async function keepReserve(context: ReserveContext & { readonly random: Random }): Promise<void> {
  const { fs, stateDirectory, random } = context;
  const path = pathIn(stateDirectory);
  await orHostError(`keep ${path}`, async () => {
    if ((await lstatIfAny(fs, 'reserve:lstat', path))?.size === RESERVE_BYTES) return;
    const { availableBytes } = await fs.statfs('reserve:statfs', stateDirectory);
    if (availableBytes < ROOM_FACTOR * RESERVE_BYTES) throw nearlyFull(stateDirectory, availableBytes);
    const temporary = `${stateDirectory}/${TEMPORARY_PREFIX}reserve`;
    try {
      // Nothing that a file system could make smaller.
      await writeDurable(fs, 'reserve', temporary, Buffer.from(random.hex(RESERVE_BYTES / 2)), 'create');
      await fs.rename('reserve:rename', temporary, path);
    } catch (error) {
      await ifAny(() => fs.unlink('reserve:unlink-temporary', temporary));
      throw error;
    }
  });
}

function pathIn(stateDirectory: string): string {
  return `${stateDirectory}/reserve`;
}

function nearlyFull(stateDirectory: string, bytes: number): MirrorError {
  return new MirrorError(
    'HOST_IO',
    `the disk of ${stateDirectory} is full but for ${bytes} bytes: in an outage of the share no state could be spooled`,
    { next: 'free space on this host: `df` shows which file system is full' },
  );
}
