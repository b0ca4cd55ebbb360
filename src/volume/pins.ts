/**
 * pins: generations kept under a name, so that nothing that prunes can take them.
 *
 * A pin is a hard link of the generation's archive: `pins/<name>.tar.gz`. Of one that has parts in another
 * generation it is a copy with all of them, so that it needs nothing that pruning could take.
 *
 * I1 A pin is whole when it is made: the generation was read back and checked, and archives are never written again.
 * I2 Making one is exclusive (`link`): a name that is taken is never replaced.
 * I3 Pruning, sweeping and late removals of fenced hosts know `gen/` and `log/` alone; a pin goes by `unpin` or `purge`.
 */
import { encodeBundle } from '../bundle/archive.js';
import { SEALED_BYTES_MAX } from '../bundle/sealing.js';
import { errnoOf, isVolumeUnfit, MirrorError } from '../model/errors.js';
import {
  contentPrefixes,
  formatGenerationName,
  GENERATION_SUFFIX,
  type GenerationName,
} from '../model/generation-name.js';
import { tpmDigest } from '../model/hash.js';
import { isSnapshotName, type DomainUuid, type SnapshotName } from '../model/identifiers.js';
import { readVolumeLog, type VolumeLog } from '../model/volume-log.js';
import { ArchiveReads } from './archive-reads.js';
import { fetch, isDamage, noSuchVolume, openStored, partSource } from './fetch.js';
import { ensureDirectory, readWhole, unlinkIfThere, writeWhole } from './files.js';
import { readLog } from './log.js';
import type { MakePinCall, Pin, PinCall } from './share-administration.js';
import {
  DIRECTORY_MODE,
  newToken,
  TEMPORARY_PREFIX,
  volumePaths,
  type ShareContext,
} from './share-context.js';
import type { Generation } from './share-store.js';

/** @throws MirrorError `USAGE` when another generation has that name; `NO_SUCH_DOMAIN`, `NO_SUCH_GENERATION`, `GENERATION_DAMAGED` */
export async function pin(context: ShareContext, call: MakePinCall): Promise<Pin> {
  const { fs } = context;
  const { uuid, name, slot } = call;
  const paths = volumePaths(context, uuid);
  const { generation } = await fetch(context, { uuid, slot, fallBack: false });
  await ensureDirectory(fs, 'pin', paths.root, paths.pins, DIRECTORY_MODE);
  try {
    await placePin(context, call, generation);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw prunedMeanwhile(call, generation.name);
    if (errnoOf(error) !== 'EEXIST') throw error;
    // Its reply was lost, or it was made before: what is there tells.
    const there = await fetchPin(context, call);
    if (!isSame(there.name, generation.name)) throw nameTaken(call, there.name);
  }
  await fs.syncDirectory('pin:sync', paths.pins);
  return { name, manifest: generation.manifest, bytes: generation.bytes, inLog: true };
}

/** What is linked is whole: the archive itself, or a copy with its parts. What is lost of it no copy brings back. */
async function placePin(context: ShareContext, call: MakePinCall, generation: Generation): Promise<void> {
  const { fs, sealing } = context;
  const paths = volumePaths(context, call.uuid);
  if (generation.partsIn === undefined || generation.lost) {
    const path = `${paths.gen}/${formatGenerationName(generation.name)}`;
    await fs.link('pin:link', path, pinPath(context, call));
    return;
  }
  await sweepTemporaries(context, paths.pins);
  const { manifest, capture } = generation;
  const bundle = await encodeBundle(manifest, capture);
  const temporary = `${paths.pins}/${temporaryPrefix(context)}${newToken(context)}`;
  try {
    await writeWhole(fs, 'pin', temporary, sealing ? await sealing.seal(bundle) : bundle);
    await fs.link('pin:link', temporary, pinPath(context, call));
  } finally {
    await fs.unlink('pin:unlink-temporary', temporary).catch(() => undefined);
  }
}

/** What a pin of this host that was interrupted left. */
async function sweepTemporaries(context: ShareContext, pins: string): Promise<void> {
  const { fs } = context;
  for (const name of await fs.readdir('pin:readdir-pins', pins)) {
    if (!name.startsWith(temporaryPrefix(context))) continue;
    await unlinkIfThere(fs, 'pin:unlink-temporary', `${pins}/${name}`);
  }
}

function temporaryPrefix({ self }: ShareContext): string {
  return `${TEMPORARY_PREFIX}pin-${self.name}-`;
}

export async function unpin(context: ShareContext, call: PinCall): Promise<void> {
  const { fs } = context;
  try {
    await fs.unlink('unpin:unlink', pinPath(context, call));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw noSuchPin(call);
    throw error;
  }
  await fs.syncDirectory('unpin:sync', volumePaths(context, call.uuid).pins);
}

/** @throws MirrorError `NO_SUCH_GENERATION`, `GENERATION_DAMAGED` */
export async function fetchPin(context: ShareContext, call: PinCall): Promise<Generation> {
  const { uuid, name } = call;
  let data: Uint8Array;
  try {
    data = await readWhole(context.fs, 'pin', pinPath(context, call), SEALED_BYTES_MAX);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw noSuchPin(call);
    throw error;
  }
  const bundle = await openStored(context, data);
  const { slot, epoch, host, digest, files } = bundle.manifest;
  if (bundle.manifest.uuid !== uuid) throw misplaced(name, bundle.manifest.uuid);
  const content = contentPrefixes({ digest, tpmDigest: tpmDigest(files) });
  const generation = { slot, epoch, host, ...content, nonce: '' };
  return {
    name: generation,
    bytes: data.length,
    ...(await partSource(context, uuid).complete(bundle)),
  };
}

/** Every pin of a volume, by name; damaged ones too. */
export async function listPins(
  context: ShareContext,
  uuid: DomainUuid,
  reads = new ArchiveReads(context, uuid),
): Promise<Pin[]> {
  const names = await pinNames(context, uuid);
  const log = await logIfReadable(context, uuid);
  const files = new Set(
    log ? await context.fs.readdir('pin:readdir-gen', volumePaths(context, uuid).gen) : [],
  );
  const inLog = (name: GenerationName): boolean =>
    [...(log?.published ?? [])].some(
      ({ generation }) => isSame(generation, name) && files.has(formatGenerationName(generation)),
    );
  const pins: Pin[] = [];
  for (const name of names) {
    const attempt = await reads.attempt(`snapshot ${name}`, () => fetchPin(context, { uuid, name }));
    if (attempt.kind === 'read') {
      const { manifest, bytes, name: generation } = attempt.value;
      pins.push({ name, manifest, bytes, inLog: inLog(generation) });
    } else {
      pins.push({ name, damage: attempt.error.toRecord(), inLog: false });
    }
  }
  return pins;
}

/** Sorted. @throws MirrorError `NO_SUCH_DOMAIN` */
export async function pinNames(context: ShareContext, uuid: DomainUuid): Promise<SnapshotName[]> {
  const { fs } = context;
  const { root, pins } = volumePaths(context, uuid);
  let files: string[];
  try {
    files = await fs.readdir('pin:readdir', pins);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    await fs.lstat('pin:lstat', root).catch((cause: unknown) => {
      throw errnoOf(cause) === 'ENOENT' ? noSuchVolume(uuid) : cause;
    });
    return [];
  }
  return files
    .filter((file) => file.endsWith(GENERATION_SUFFIX))
    .map((file) => file.slice(0, -GENERATION_SUFFIX.length))
    .filter(isSnapshotName)
    .sort();
}

/** Whether two names are of one generation, of which a manifest does not know the nonce. */
export function isSame(one: GenerationName, other: GenerationName): boolean {
  return (
    one.slot === other.slot &&
    one.epoch === other.epoch &&
    one.host === other.host &&
    one.digestPrefix === other.digestPrefix
  );
}

/** A volume whose log is damaged still has its pins: they are what it is mended with. */
async function logIfReadable(context: ShareContext, uuid: DomainUuid): Promise<VolumeLog | undefined> {
  try {
    return (await readLog(context, uuid, 'all')) ?? readVolumeLog([]);
  } catch (error) {
    if (isDamage(error) || isVolumeUnfit(error)) return undefined;
    throw error;
  }
}

function pinPath(context: ShareContext, { uuid, name }: PinCall): string {
  return `${volumePaths(context, uuid).pins}/${name}${GENERATION_SUFFIX}`;
}

function noSuchPin({ uuid, name }: PinCall): MirrorError {
  return new MirrorError('NO_SUCH_GENERATION', `volume ${uuid} has no snapshot ${name}`, {
    next: `list the snapshots with \`swtpm-mirror snapshot list ${uuid}\``,
  });
}

function nameTaken({ uuid, name }: PinCall, { slot }: GenerationName): MirrorError {
  return new MirrorError('USAGE', `snapshot ${name} of ${uuid} exists: it is generation ${String(slot)}`, {
    next: `give another name, or delete it first with \`swtpm-mirror snapshot delete ${uuid} ${name}\``,
  });
}

function prunedMeanwhile({ uuid }: PinCall, { slot }: GenerationName): MirrorError {
  return new MirrorError(
    'NO_SUCH_GENERATION',
    `generation ${String(slot)} of ${uuid} was pruned before it could be kept`,
    {
      next: `list the generations with \`swtpm-mirror history ${uuid}\``,
    },
  );
}

function misplaced(name: string, uuid: DomainUuid): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `snapshot ${name} holds the state of ${uuid}`, {
    next: 'somebody copied it there: move it back to that volume, or delete it',
  });
}
