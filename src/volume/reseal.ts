/**
 * reseal: write what a volume holds anew for other recipients, or from the clear to sealed and back, while its domain runs.
 *
 *   P1 read and check     what is damaged, or cannot be opened here, stays as it is
 *   P2 write aside        the same bundle, byte for byte, sealed anew; fsync, close
 *   P3 rename over        under the same name, so that log and readers never notice
 *
 * I1 At every moment the name holds the whole bundle: as it was, or sealed anew.
 * I2 Neither log nor head is touched, and nobody is fenced: it needs no claim, and runs beside any holder.
 * I3 What is done is told by its header (`age-header.ts`), so that an interrupted run goes on where it ended, from whatever host.
 * Not guaranteed: that a file which is pruned, or a snapshot which is deleted, in the moment between P1 and P3 does not come back. The next
 * prune takes the one, its operator the other. Nor that no older copy is left in backups of the share: a key that is known to others opens those.
 */
import { isSealedFor, refusePlain, SEALED_BYTES_MAX, unsealed } from '../bundle/sealing.js';
import { asMirrorError, errnoOf } from '../model/errors.js';
import { GENERATION_SUFFIX, parseGenerationName } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import { isUnopened, isUnreadable, noSuchVolume, openArchive } from './fetch.js';
import { readWhole, unlinkIfThere, writeWhole } from './files.js';
import type { Resealed, ResealCall } from './share-administration.js';
import {
  newToken,
  RESEAL_PREFIX,
  TEMPORARY_PREFIX,
  volumePaths,
  type ShareContext,
} from './share-context.js';
import { shareError } from './share-errors.js';

/** Files of one call, so that none takes as long as a volume with a long past. */
const FILES_MAX = 32;
const ATTEMPTS = 3;

/** What lies in the clear is sealed only where that is accepted: it would pass for what this host wrote. @throws MirrorError `NO_SUCH_DOMAIN`, `KEY_UNUSABLE`, `SHARE_*` */
export async function reseal(context: ShareContext, call: ResealCall): Promise<Resealed> {
  const { uuid, after, dryRun } = call;
  const { root } = volumePaths(context, uuid);
  try {
    if (after === '' && !dryRun) await sweepOwn(context, uuid);
    const left = (await archivesOf(context, uuid)).filter((path) => path > after);
    const now = left.slice(0, FILES_MAX);
    const result = { rewritten: 0, already: 0, unopened: 0, damaged: [] as Resealed['damaged'][number][] };
    for (const path of now) {
      try {
        const outcome = await resealOne(context, `${root}/${path}`, dryRun);
        if (outcome !== 'gone') result[outcome]++;
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        if (isUnopened(error)) result.unopened++;
        else result.damaged.push({ path, error: asMirrorError(error).toRecord() });
      }
    }
    return { ...result, next: left.length > now.length ? now.at(-1) : undefined };
  } catch (error) {
    throw shareError(`encrypt volume ${uuid} anew`, error);
  }
}

async function resealOne(
  context: ShareContext,
  path: string,
  dryRun: boolean,
): Promise<'rewritten' | 'already' | 'gone'> {
  const { fs, sealing } = context;
  let stored: Uint8Array;
  try {
    stored = await readWhole(fs, 'reseal', path, SEALED_BYTES_MAX);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'gone';
    throw error;
  }
  if (isSealedFor(stored, sealing?.recipientSet)) return 'already';
  refusePlain(stored, sealing);
  const bundle = await unsealed(stored, sealing);
  await openArchive(context, bundle);
  if (dryRun) return 'rewritten';
  await replace(context, path, sealing ? await sealing.seal(bundle) : bundle);
  return 'rewritten';
}

/** P2 and P3. A holder that tidies takes what lies aside for a leftover: then it is written again. */
async function replace(context: ShareContext, path: string, data: Uint8Array): Promise<void> {
  const { fs } = context;
  const directory = path.slice(0, path.lastIndexOf('/'));
  for (let attempt = 1; ; attempt++) {
    const temporary = `${directory}/${temporaryPrefix(context)}${newToken(context)}`;
    try {
      await writeWhole(fs, 'reseal', temporary, data);
      await fs.rename('reseal:rename', temporary, path);
      await fs.syncDirectory('reseal:sync', directory);
      return;
    } catch (error) {
      await fs.unlink('reseal:unlink-temporary', temporary).catch(() => undefined);
      if (errnoOf(error) !== 'ENOENT' || attempt >= ATTEMPTS) throw error;
    }
  }
}

/** Relative to the volume, sorted. */
async function archivesOf(context: ShareContext, uuid: DomainUuid): Promise<string[]> {
  const { root, gen, diverged, pins } = volumePaths(context, uuid);
  if (!(await isThere(context, root))) throw noSuchVolume(uuid);
  const isGeneration = (name: string): boolean => parseGenerationName(name) !== undefined;
  const isPin = (name: string): boolean =>
    name.endsWith(GENERATION_SUFFIX) && !name.startsWith(TEMPORARY_PREFIX);
  return [
    ...(await namesIn(context, gen)).filter(isGeneration).map((name) => `gen/${name}`),
    ...(await namesIn(context, diverged)).filter(isGeneration).map((name) => `diverged/${name}`),
    ...(await namesIn(context, pins)).filter(isPin).map((name) => `pins/${name}`),
  ].sort();
}

/** What an interrupted run of this host left; what one of another host left in `gen/` goes with the holder's `tidy`. */
async function sweepOwn(context: ShareContext, uuid: DomainUuid): Promise<void> {
  const { gen, diverged, pins } = volumePaths(context, uuid);
  for (const directory of [gen, diverged, pins]) {
    for (const name of await namesIn(context, directory)) {
      if (!name.startsWith(temporaryPrefix(context))) continue;
      await unlinkIfThere(context.fs, 'reseal:unlink', `${directory}/${name}`);
    }
  }
}

function temporaryPrefix({ self }: ShareContext): string {
  return `${RESEAL_PREFIX}${self.name}-`;
}

async function isThere({ fs }: ShareContext, path: string): Promise<boolean> {
  try {
    await fs.lstat('reseal:lstat', path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function namesIn({ fs }: ShareContext, path: string): Promise<string[]> {
  try {
    return await fs.readdir('reseal:readdir', path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
