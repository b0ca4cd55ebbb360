/**
 * live: where swtpm works on the share itself (`placement = "direct"`), and how its state gets into generations.
 *
 *   <share>/volumes/<uuid>/live/00000042/tpm2/     of the run that began with the claim in slot 42
 *
 * I1 (G3) Every run has a directory of its own, named by the claim it began with. swtpm opens its files by name at every write, so a host that was
 *    fenced and knows nothing of it goes on writing where its run began, and never where a later holder's swtpm works.
 * I2 (G4) What lies here is never the truth; generations are. It is read by the host whose run it is, judged by the restore plan like any local state,
 *    and published; a later holder keeps what differs from the head as a diverged copy, and removes it.
 * I3 Nothing is linked to a directory before it is whole and durable (`placeLive` resolves first), so swtpm never sees a part of a state.
 * Not guaranteed: the owner of the files. libvirt gives them to swtpm's user at every start, for which the export must let root change owners.
 */
import {
  STATE_FILE_BYTES_MAX,
  STATE_FILE_NAMES,
  type SeenFile,
  type TpmDirectoryName,
} from '../model/capture.js';
import type { MirrorError } from '../model/errors.js';
import { errnoOf } from '../model/errors.js';
import type { FileStat, OpenFile } from '../model/filesystem.js';
import { parseSlot, type Slot } from '../model/generation-name.js';
import { sha256 } from '../model/hash.js';
import type { DomainUuid } from '../model/identifiers.js';
import { stateFault } from '../model/state-fault.js';
import { validateStateFile } from '../model/swtpm-blob.js';
import { unlinkIfThere, writeWhole } from './files.js';
import { DIRECTORY_MODE, livePath, volumePaths, volumesPath, type ShareContext } from './share-context.js';
import type { LiveCall, PlaceLiveCall } from './share-store.js';

const ROLES: readonly TpmDirectoryName[] = ['tpm1.2', 'tpm2'];
/** swtpm's user passes through the directories above its own and cannot list them. */
const PASSABLE_MODE = 0o711;
const PASSABLE = 0o111;

/**
 * Makes a run's directory with the TPM files of a capture.
 *
 * @throws MirrorError `SHARE_*`; what was made by then is removed by the next tidying
 */
export async function placeLive(context: ShareContext, call: PlaceLiveCall): Promise<void> {
  const { fs, root } = context;
  const run = livePath(context, call.uuid, call.live);
  const volume = volumePaths(context, call.uuid);
  for (const path of [root, volumesPath(context), volume.root]) await makePassable(context, path);
  for (const path of [volume.live, run]) {
    await makeDirectory(context, path);
    await makePassable(context, path);
  }
  for (const role of ROLES) {
    const files = call.capture.files.filter((file) => file.role === role);
    if (files.length === 0) continue;
    await makeDirectory(context, `${run}/${role}`);
    for (const { name, data } of files) await writeWhole(fs, 'live', `${run}/${role}/${name}`, data);
    await fs.syncDirectory('live:sync-role', `${run}/${role}`);
  }
  for (const path of [run, volume.live, volume.root]) await fs.syncDirectory('live:sync', path);
}

async function makeDirectory({ fs }: ShareContext, path: string): Promise<void> {
  await fs.mkdir('live:mkdir', path, DIRECTORY_MODE).catch((error: unknown) => {
    // There already, or a lost reply.
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
}

async function makePassable({ fs }: ShareContext, path: string): Promise<void> {
  const { mode } = await fs.lstat('live:lstat-parent', path);
  if ((mode & PASSABLE) !== PASSABLE) await fs.chmod('live:chmod', path, mode | PASSABLE_MODE);
}

/**
 * The TPM files of a run, each as one look found it.
 *
 * @returns none when the run has no directory, or nothing in it
 * @throws MirrorError `STATE_INVALID`, `SHARE_*`
 */
export async function readLive(context: ShareContext, { uuid, live }: LiveCall): Promise<SeenFile[]> {
  const seen: SeenFile[] = [];
  for (const role of ROLES) {
    for (const name of STATE_FILE_NAMES[role]) {
      const path = `${livePath(context, uuid, live)}/${role}/${name}`;
      const reading = await ifThere(() => readFile(context, path));
      if (!reading) continue;
      const { inode, mode, mtimeNs } = reading.stat;
      const { identity, selfValidating } = validateStateFile(role, name, reading.data);
      const { data } = reading;
      seen.push({ role, name, mode, mtimeNs, data, sha256: sha256(data), inode, identity, selfValidating });
    }
  }
  return seen;
}

/** Changes whenever one of the run's TPM files does. One look-up a file, which this client mostly answers itself. */
export async function lookLive({ fs, root }: ShareContext, { uuid, live }: LiveCall): Promise<string> {
  const marks: string[] = [];
  for (const role of ROLES) {
    for (const name of STATE_FILE_NAMES[role]) {
      const path = `${livePath({ root }, uuid, live)}/${role}/${name}`;
      const stat = await ifThere(() => fs.lstat('live:lstat', path));
      if (stat) marks.push(`${name} ${stat.inode} ${stat.mtimeNs} ${stat.size}`);
    }
  }
  return marks.join('\n');
}

/**
 * Removes a run's directory with the files in it; one that is gone already is fine. A directory that somebody made below swtpm's own stays unless it is
 * empty: its user could put a link in its place while it is emptied.
 */
export async function removeLive(context: ShareContext, { uuid, live }: LiveCall): Promise<void> {
  const run = livePath(context, uuid, live);
  for (const role of await namesIn(context, run)) {
    for (const name of await namesIn(context, `${run}/${role}`)) {
      await removeFile(context, `${run}/${role}/${name}`);
    }
    await removeIfEmpty(context, `${run}/${role}`);
  }
  await removeIfEmpty(context, run);
}

/** The runs that have a directory in a volume. */
export async function liveRuns(context: ShareContext, uuid: DomainUuid): Promise<Slot[]> {
  const names = await namesIn(context, volumePaths(context, uuid).live);
  return names.map(parseSlot).filter((slot) => slot !== undefined);
}

async function readFile({ fs }: ShareContext, path: string): Promise<{ stat: FileStat; data: Uint8Array }> {
  const file = await fs.open('live:open', path, 'read').catch((error: unknown) => {
    // A link, or a socket.
    throw ['ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '') ? noStateFile(path) : error;
  });
  try {
    const stat = await file.stat('live:stat');
    if (stat.kind !== 'file' || stat.size > STATE_FILE_BYTES_MAX) throw noStateFile(path);
    // swtpm gives a file one name; with a second one here, another volume's would be read as this one's.
    if (stat.links > 1) throw noStateFile(path);
    return { stat, data: await readToEnd(file) };
  } finally {
    await file.close('live:close-read');
  }
}

async function readToEnd(file: OpenFile): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  while (length <= STATE_FILE_BYTES_MAX) {
    const chunk = await file.read('live:read', 64 * 1024, length);
    if (chunk.length === 0) break;
    chunks.push(chunk);
    length += chunk.length;
  }
  return Buffer.concat(chunks);
}

async function namesIn({ fs }: ShareContext, path: string): Promise<string[]> {
  return (await ifThere(() => fs.readdir('live:readdir', path))) ?? [];
}

function noStateFile(path: string): MirrorError {
  return stateFault('unreadable', `cannot read TPM state: ${path} is no file of TPM state`, {
    next: 'look who made it; swtpm itself writes nothing else there',
  });
}

async function removeFile(context: ShareContext, path: string): Promise<void> {
  try {
    await unlinkIfThere(context.fs, 'live:unlink', path);
  } catch (error) {
    if (errnoOf(error) !== 'EISDIR') throw error;
    await removeIfEmpty(context, path);
  }
}

async function removeIfEmpty(context: ShareContext, path: string): Promise<void> {
  try {
    await context.fs.rmdir('live:rmdir', path);
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') {
      await unlinkIfThere(context.fs, 'live:unlink', path);
      return;
    }
    // Not empty: an NFS client keeps what is open under another name; the next tidying removes it.
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
  }
}

async function ifThere<Result>(call: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await call();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw error;
  }
}
