/**
 * purge: destroy a volume, for good. The only operation that takes generations away from readers (G7).
 *
 *   P1 claim               other hosts are fenced, and whoever prepares a start meets a holder that is alive
 *   P2 rename              the volume goes to `purged/<uuid>-<nonce>`: late operations on it never meet a volume made anew under its UUID
 *   P3 look at the log     does it still end with our claim? if not, somebody needs the volume: it goes back
 *   P4 delete              the generations first, the log last and from its bottom, so that our claim marks the rest as doomed to the end
 *
 * I1 Nothing is deleted unless the log ends with a claim made for this purpose (P3), or the caller asked not to look (`unread`).
 * I2 A crash after P2 leaves a directory in `purged/` that the next purge of this UUID finishes, or puts back when P3 would have failed.
 * Not guaranteed: anything to a host that takes the volume over by force between P3 and the end of P4.
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import { parseSlot, type Slot } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import { parsePayload } from '../model/log-entry.js';
import { removeTree } from '../model/remove-tree.js';
import { claim } from './claim.js';
import { noSuchVolume } from './fetch.js';
import { ensureDirectory } from './files.js';
import type { Heartbeat } from './hosts.js';
import {
  DIRECTORY_MODE,
  newToken,
  pathsAt,
  purgedPath,
  slotPath,
  volumePaths,
  volumesPath,
  type ShareContext,
} from './share-context.js';
import type { PurgeCall, PurgeOutcome } from './share-administration.js';

/** @throws MirrorError `NO_SUCH_DOMAIN`, `VOLUME_DAMAGED` (its log cannot be read: `unread` purges it all the same), `TAKE_OVER_LOST` */
export async function purge(
  context: ShareContext,
  heartbeat: Heartbeat,
  call: PurgeCall,
): Promise<PurgeOutcome> {
  const finished = await finishEarlier(context, call.uuid);
  if (!(await isThere(context, volumePaths(context, call.uuid).root))) {
    if (finished) return { kind: 'purged' };
    throw noSuchVolume(call.uuid);
  }
  if (!call.unread) {
    const outcome = await claim(context, heartbeat, {
      ...call,
      reason: 'purge',
      scope: 'expired',
      revive: true,
    });
    if (outcome.kind !== 'claimed') return outcome;
  }
  const doomed = await renameAway(context, call.uuid);
  if (!call.unread && !(await isDoomed(context, doomed))) {
    await putBack(context, call.uuid, doomed);
    throw takenMeanwhile(call.uuid);
  }
  await deleteVolume(context, doomed);
  return { kind: 'purged' };
}

/** Finishes what an interrupted purge left. @returns whether there was anything to finish */
async function finishEarlier(context: ShareContext, uuid: DomainUuid): Promise<boolean> {
  let finished = false;
  for (const name of await leftovers(context, uuid)) {
    const path = `${purgedPath(context)}/${name}`;
    if (await isDoomed(context, path)) {
      await deleteVolume(context, path);
      finished = true;
    } else {
      await putBack(context, uuid, path);
    }
  }
  return finished;
}

async function leftovers(context: ShareContext, uuid: DomainUuid): Promise<string[]> {
  try {
    const names = await context.fs.readdir('purge:readdir', purgedPath(context));
    return names.filter((name) => name.startsWith(`${uuid}-`));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function renameAway(context: ShareContext, uuid: DomainUuid): Promise<string> {
  const { fs, root } = context;
  const purged = purgedPath(context);
  await ensureDirectory(fs, 'purge', root, purged, DIRECTORY_MODE);
  const doomed = `${purged}/${uuid}-${newToken(context)}`;
  try {
    await fs.rename('purge:rename', volumePaths(context, uuid).root, doomed);
  } catch (error) {
    // The reply of a rename that took place may be lost. The name is ours alone, so what is there tells.
    if (!(await isThere(context, doomed))) throw error;
  }
  await fs.syncDirectory('purge:sync', purged);
  await fs.syncDirectory('purge:sync-volumes', volumesPath(context));
  return doomed;
}

async function putBack(context: ShareContext, uuid: DomainUuid, from: string): Promise<void> {
  const { fs } = context;
  const to = volumePaths(context, uuid).root;
  if (await isThere(context, to)) {
    throw new MirrorError('VOLUME_DAMAGED', `${from} is in use by another host, and ${to} was made anew`, {
      next: 'compare the logs of both, and move the one that is wrong out of the share',
    });
  }
  await fs.rename('purge:rename-back', from, to);
  await fs.syncDirectory('purge:sync', purgedPath(context));
  await fs.syncDirectory('purge:sync-volumes', volumesPath(context));
}

/** Whether the log of a volume that was renamed away ends with the claim of a purge, or is gone already. */
async function isDoomed({ fs }: ShareContext, root: string): Promise<boolean> {
  const paths = pathsAt(root);
  let top: Slot;
  try {
    const slots = (await fs.readdir('purge:readdir-log', paths.log)).map(parseSlot);
    top = Math.max(0, ...slots.filter((slot) => slot !== undefined));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    throw error;
  }
  if (top === 0) return true;
  const entry = parsePayload(top, await fs.readlink('purge:readlink', slotPath(paths, top)));
  return entry.kind === 'claim' && entry.reason === 'purge';
}

/** P4. */
async function deleteVolume({ fs, root: share }: ShareContext, root: string): Promise<void> {
  const paths = pathsAt(root);
  // Of something else in a volume's place, such as a link, that alone goes.
  const isVolume = (await fs.lstat('purge:lstat-doomed', root)).kind === 'directory';
  const names = isVolume ? await fs.readdir('purge:readdir', root) : [];
  for (const name of names) {
    if (`${root}/${name}` !== paths.log) await removeTree(fs, 'purge', `${root}/${name}`);
  }
  if (isVolume) await removeTree(fs, 'purge', paths.log);
  await removeTree(fs, 'purge', root);
  await fs.syncDirectory('purge:sync', purgedPath({ root: share }));
}

async function isThere({ fs }: ShareContext, path: string): Promise<boolean> {
  try {
    await fs.lstat('purge:lstat', path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function takenMeanwhile(uuid: DomainUuid): MirrorError {
  return new MirrorError('TAKE_OVER_LOST', `another host took volume ${uuid} while it was to be purged`, {
    next: 'see with `swtpm-mirror history --all` who uses it; nothing was deleted',
  });
}
