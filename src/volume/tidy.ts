/**
 * tidy: remove what no reader needs, so that a volume keeps a bounded number of files. Only its holder does it.
 *
 * Sweep: a file in `gen/` that no slot names.
 *   I1 It goes only when the slot that it aimed at is taken by something else, for then its commit can no longer arrive.
 *   I2 If its writer was fenced (the slot is another host's), and it is whole, valid and not a copy of what was published, it becomes a
 *      diverged copy instead. Where the writer took the slot itself, with a claim or another attempt, it went on by itself.
 *   What `reseal` writes aside goes at any time: it is written again where somebody is at work.
 * Prune: whole epochs from the bottom, the generations before their slots, and the slots lowest first.
 *   I3 What stays is the log from the claim of the oldest kept generation upwards, without a gap (see `volume-log.ts`).
 *   I4 A crash in the middle leaves a shorter prefix to remove; a removal of a fenced holder that arrives late hits only what is
 *      below a head that has moved on, or a name that nobody will use again.
 *   I5 A generation that another one has its parts in (`-r` in that one's name) stays as long as that one, wherever it lies: of an epoch the
 *      those that need others go first, newest first, and durably; and what a fenced host's late publish or a diverged copy needs is passed over.
 */
import { MirrorError } from '../model/errors.js';
import { isOwn, isSameHost, type Author } from '../model/host-identity.js';
import {
  formatGenerationName,
  parseGenerationName,
  parseSlot,
  type GenerationName,
  type Slot,
} from '../model/generation-name.js';
import { claimOf, needsCompaction, pruneBoundary, type VolumeLog } from '../model/volume-log.js';
import { isDamage, isUnreadable, readArchive } from './fetch.js';
import { unlinkIfThere } from './files.js';
import { sweepLive } from './live-sweep.js';
import { readLog } from './log.js';
import { moveToDiverged } from './publish.js';
import {
  RESEAL_PREFIX,
  slotPath,
  TEMPORARY_PREFIX,
  volumePaths,
  type ShareContext,
  type VolumePaths,
} from './share-context.js';
import { shareError } from './share-errors.js';
import { strangersIn } from './strangers.js';
import type { TidyCall, TidyResult } from './share-store.js';

/** Removals of one call, so that a volume with a long past does not hold up its next publish. */
const REMOVALS_MAX = 128;

export async function tidy(context: ShareContext, call: TidyCall): Promise<TidyResult> {
  const log = await readLog(context, call.uuid, 'all');
  if (log?.holder?.epoch !== call.epoch || !isOwn(log.holder, context.self)) {
    throw new MirrorError(
      'FENCED',
      `volume ${call.uuid} is not held by this host in epoch ${String(call.epoch)}`,
      {
        next: 'nothing to do: its holder tidies it',
      },
    );
  }
  try {
    const swept = await sweep(context, call, log);
    const pruned = await prune(context, call, log);
    const runs = await sweepLive(context, call, log);
    return {
      removed: swept.removed + pruned + runs.removed,
      diverged: swept.diverged + runs.diverged,
      strangers: await strangersIn(context, log),
      needsCompaction: needsCompaction(log, call.keep),
    };
  } catch (error) {
    throw shareError(`tidy volume ${call.uuid}`, error);
  }
}

async function sweep(
  context: ShareContext,
  call: TidyCall,
  log: VolumeLog,
): Promise<{ removed: number; diverged: number }> {
  const paths = volumePaths(context, call.uuid);
  const named = new Set(
    [...log.published, ...log.diverged].map((entry) => formatGenerationName(entry.generation)),
  );
  const published = new Set(log.published.map((entry) => entry.generation.digestPrefix));
  const bottom = log.entries[0]?.slot ?? 0;
  const result = { removed: 0, diverged: 0 };
  for (const file of await context.fs.readdir('sweep:readdir', paths.gen)) {
    const temporary = file.startsWith(TEMPORARY_PREFIX);
    if (file.startsWith(RESEAL_PREFIX)) {
      await unlinkIfThere(context.fs, 'sweep:unlink', `${paths.gen}/${file}`);
      result.removed++;
      continue;
    }
    const name = aimedName(file);
    // What aims above the top may still be committed; what aims below the bottom belongs to pruning.
    if (!name || named.has(file) || name.slot > log.top || name.slot < bottom) continue;
    const fenced = !isOfWriter(log, name);
    const news = fenced && !temporary && !published.has(name.digestPrefix);
    const keep = news && (await isWhole(context, call, name, paths));
    if (keep) {
      await moveToDiverged(context, paths, name);
      result.diverged++;
    } else {
      await unlinkIfThere(context.fs, 'sweep:unlink', `${paths.gen}/${file}`);
      result.removed++;
    }
    if (result.removed + result.diverged >= REMOVALS_MAX) break;
  }
  return result;
}

/** Whether the slot that a file aimed at was taken by the file's own writer. */
function isOfWriter(log: VolumeLog, { slot, epoch, host }: GenerationName): boolean {
  const entry = log.entries.find((candidate) => candidate.slot === slot);
  if (!entry || entry.kind === 'unknown') return false;
  const taker: Author =
    entry.kind === 'publish' ? (claimOf(log, entry.generation.epoch) ?? entry.generation) : entry;
  return isSameHost(claimOf(log, epoch) ?? { host }, taker);
}

async function isWhole(
  context: ShareContext,
  call: TidyCall,
  name: GenerationName,
  paths: VolumePaths,
): Promise<boolean> {
  try {
    await readArchive(context, call.uuid, name, `${paths.gen}/${formatGenerationName(name)}`);
    return true;
  } catch (error) {
    if (isDamage(error)) return false;
    // Of a later version: not ours to judge, so it is kept.
    if (isUnreadable(error)) return true;
    throw error;
  }
}

/** @returns files removed */
async function prune(context: ShareContext, call: TidyCall, log: VolumeLog): Promise<number> {
  const { fs } = context;
  const paths = volumePaths(context, call.uuid);
  const boundary = pruneBoundary(log, call.keep);
  const generations = await generationsBelow(context, paths, boundary);
  const first = generations.slice(0, REMOVALS_MAX);
  let areNeedyDurablyGone = true;
  for (const { file, name } of first) {
    const isNeedy = name.partsIn !== undefined;
    if (!isNeedy && !areNeedyDurablyGone) await fs.syncDirectory('prune:sync-gen', paths.gen);
    areNeedyDurablyGone = !isNeedy;
    await unlinkIfThere(fs, 'prune:unlink-generation', `${paths.gen}/${file}`);
  }
  if (first.length > 0) await fs.syncDirectory('prune:sync-gen', paths.gen);
  if (first.length < generations.length) return first.length;
  // Listed anew rather than taken from the log: leftovers of an interrupted pruning lie below the log's own bottom.
  const slots = (await fs.readdir('prune:readdir', paths.log)).map(parseSlot);
  const doomed = slots
    .filter((slot): slot is Slot => slot !== undefined && slot < boundary)
    .sort((a, b) => a - b);
  for (const slot of doomed) await unlinkIfThere(fs, 'prune:unlink-slot', slotPath(paths, slot));
  if (doomed.length > 0) await fs.syncDirectory('prune:sync-log', paths.log);
  return first.length + doomed.length;
}

interface Doomed {
  readonly file: string;
  readonly name: GenerationName;
}

/** What aimed below the boundary and is needed by nothing that stays, in the order in which it goes (I5). */
async function generationsBelow(
  context: ShareContext,
  paths: VolumePaths,
  boundary: Slot,
): Promise<Doomed[]> {
  const files = await context.fs.readdir('prune:readdir-gen', paths.gen);
  const aimed = files.flatMap((file) => {
    const name = aimedName(file);
    return name ? [{ file, name }] : [];
  });
  const doomed = aimed.filter(({ name }) => name.slot < boundary);
  if (doomed.length === 0) return [];
  const staying = aimed.filter(({ name }) => name.slot >= boundary).map(({ name }) => name);
  // Listed after `gen/`: what moves from there to here in between is seen at least once.
  const needed = neededBy([...staying, ...(await divergedNames(context, paths))]);
  return doomed
    .filter(({ name }) => !needed.has(placeOf(name.epoch, name.slot)))
    .sort((a, b) => a.name.epoch - b.name.epoch || rankOf(a.name) - rankOf(b.name));
}

/** Within an epoch: what needs others before what needs none, and of those the newest first. */
function rankOf({ slot, partsIn }: GenerationName): number {
  return partsIn === undefined ? slot : -slot;
}

async function divergedNames({ fs }: ShareContext, { diverged }: VolumePaths): Promise<GenerationName[]> {
  const files = await fs.readdir('prune:readdir-diverged', diverged);
  return files.map(aimedName).filter((name) => name !== undefined);
}

/** Where the generations lie that these have their parts in. */
function neededBy(names: readonly GenerationName[]): Set<string> {
  return new Set(
    names.flatMap(({ epoch, partsIn }) => (partsIn === undefined ? [] : [placeOf(epoch, partsIn)])),
  );
}

function placeOf(epoch: Slot, slot: Slot): string {
  return `${String(epoch)}/${String(slot)}`;
}

function aimedName(file: string): GenerationName | undefined {
  return parseGenerationName(file.startsWith(TEMPORARY_PREFIX) ? file.slice(TEMPORARY_PREFIX.length) : file);
}
