/**
 * fetch: read a generation back, whole and checked, or say exactly what is wrong with it.
 *
 * I1 What is handed out passed every check: the archive's own, the manifest's hashes, the swtpm blobs' structure, and that the
 *    manifest belongs to this volume, slot, epoch and writer (so a file that was copied to the wrong place is found).
 * I2 A damaged generation is passed over only when the caller asks for it, and every one passed over is named.
 * I3 What a generation has in another one is handed out as its own (`part-source.ts`). Where that one is damaged or gone, the TPM
 *    is handed out without it, and it is told (`lost`): nothing beside a TPM is in its way.
 */
import { decodeGeneration, refuseReferences, type Bundle } from '../bundle/archive.js';
import { referenceOf, type Manifest } from '../bundle/manifest.js';
import { isSealed, refusePlain, SEALED_BYTES_MAX, unsealed } from '../bundle/sealing.js';
import { isTpmRole, type Capture } from '../model/capture.js';
import { asMirrorError, errnoOf, MirrorError, type ErrorCode } from '../model/errors.js';
import { formatGenerationName, parseGenerationName, type GenerationName } from '../model/generation-name.js';
import { tpmDigest } from '../model/hash.js';
import type { DomainUuid } from '../model/identifiers.js';
import { validateStateFile } from '../model/swtpm-blob.js';
import type { VolumeLog } from '../model/volume-log.js';
import { listDiverged } from './diverged.js';
import { readWhole } from './files.js';
import { readLog } from './log.js';
import { PartSource } from './part-source.js';
import { volumePaths, type ShareContext } from './share-context.js';
import { shareError } from './share-errors.js';
import type { DamagedGeneration, FetchCall, FetchResult, Generation, HeadReading } from './share-store.js';

/**
 * @throws MirrorError `NO_SUCH_DOMAIN`, `NO_SUCH_GENERATION`, `GENERATION_DAMAGED`; `KEY_MISSING`, which is never passed over: what is newest
 *   is not known to be bad
 */
export async function fetch(context: ShareContext, call: FetchCall): Promise<FetchResult> {
  if (call.slot === 'diverged') return { generation: await fetchDiverged(context, call), passedOver: [] };
  const log = await readLog(context, call.uuid, 'all');
  if (!log) throw noSuchVolume(call.uuid);
  const candidates = candidatesFor(log, call);
  const passedOver: DamagedGeneration[] = [];
  for (const name of candidates) {
    try {
      return { generation: await readGeneration(context, call.uuid, name), passedOver };
    } catch (error) {
      if (!isDamage(error) || !call.fallBack) throw error;
      passedOver.push({ name, error: asMirrorError(error).toRecord() });
    }
  }
  throw new MirrorError(
    'GENERATION_DAMAGED',
    `no generation of ${call.uuid} is whole (${String(passedOver.length)} tried)`,
    {
      next: 'restore the volume from a backup of the share',
    },
  );
}

async function fetchDiverged(context: ShareContext, { uuid, digest = '' }: FetchCall): Promise<Generation> {
  const copies = await listDiverged(context, uuid);
  const meant = copies.filter(({ generation }) => startsAlike(generation.digestPrefix, digest));
  const [found] = meant.sort((a, b) => b.generation.slot - a.generation.slot);
  if (!found || (digest === '' && meant.length > 1)) throw noSuchCopy(uuid, digest, meant.length);
  const path = `${volumePaths(context, uuid).diverged}/${found.file}`;
  return await readArchive(context, uuid, found.generation, path);
}

/** A name has the first digits alone. */
function startsAlike(prefix: string, digest: string): boolean {
  return prefix.startsWith(digest) || digest.startsWith(prefix);
}

function noSuchCopy(uuid: DomainUuid, digest: string, count: number): MirrorError {
  const which = digest === '' ? `${String(count)} diverged copies` : `no diverged copy ${digest}`;
  return new MirrorError('NO_SUCH_GENERATION', `volume ${uuid} has ${which}; expected one`, {
    next: `name one by its content, as \`swtpm-mirror history --all ${uuid}\` lists them`,
  });
}

function candidatesFor(log: VolumeLog, { uuid, slot }: FetchCall): GenerationName[] {
  const newestFirst = log.published.map((entry) => entry.generation).reverse();
  if (slot === 'head') {
    if (newestFirst.length > 0) return newestFirst;
    throw new MirrorError('NO_SUCH_GENERATION', `volume ${uuid} has no generation yet`, {
      next: 'start the domain with the agent running; its first state is published at once',
    });
  }
  const known = newestFirst.filter((name) => slot !== 'diverged' && name.slot <= slot);
  if (known[0]?.slot === slot) return known;
  throw new MirrorError('NO_SUCH_GENERATION', `volume ${uuid} has no generation ${String(slot)}`, {
    next: `list the generations with \`swtpm-mirror history ${uuid}\``,
  });
}

/** The head with its content, as a reading that can be judged. */
export async function readHead(
  context: ShareContext,
  uuid: DomainUuid,
  log: VolumeLog,
): Promise<HeadReading> {
  if (!log.head) return { kind: 'none' };
  try {
    return { kind: 'whole', generation: await readGeneration(context, uuid, log.head) };
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { kind: 'damaged', name: log.head, error: asMirrorError(error).toRecord() };
  }
}

/** Reads and checks one generation of `gen/`. */
export async function readGeneration(
  context: ShareContext,
  uuid: DomainUuid,
  name: GenerationName,
  parts?: PartSource,
): Promise<Generation> {
  return await readArchive(context, uuid, name, generationPath(context, uuid, name), parts);
}

function generationPath(context: ShareContext, uuid: DomainUuid, name: GenerationName): string {
  return `${volumePaths(context, uuid).gen}/${formatGenerationName(name)}`;
}

/**
 * Reads and checks an archive under a generation's name, wherever it lies.
 *
 * @param parts for several of one volume, so that what they share is read once
 */
export async function readArchive(
  context: ShareContext,
  uuid: DomainUuid,
  name: GenerationName,
  path: string,
  parts = partSource(context, uuid),
): Promise<Generation> {
  const { bundle, bytes } = await readStored(context, uuid, name, path);
  return { name, bytes, ...(await parts.complete(bundle)) };
}

/** Where the generations of a volume are completed from. */
export function partSource(context: ShareContext, uuid: DomainUuid): PartSource {
  return new PartSource(async (file) => {
    const name = parseGenerationName(file);
    if (!name) throw new MirrorError('INTERNAL', `${file} is no generation's name`, { next: '' });
    return (await readStored(context, uuid, name, generationPath(context, uuid, name))).bundle;
  });
}

/** As it was written: its parts can be references. */
async function readStored(
  context: ShareContext,
  uuid: DomainUuid,
  name: GenerationName,
  path: string,
): Promise<{ readonly bundle: Bundle; readonly bytes: number }> {
  let data: Uint8Array;
  try {
    data = await readWhole(context.fs, 'fetch', path, SEALED_BYTES_MAX);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw damaged(name, `${path} is missing`);
    throw shareError(`read generation ${String(name.slot)} of ${uuid}`, error);
  }
  const bundle = await openStored(context, data);
  checkPlace(uuid, name, bundle.manifest);
  return { bundle, bytes: data.length };
}

/** The same for one that lies on the share, where it may have to be sealed. @throws MirrorError `PLAIN_REFUSED` as well */
export async function openStored(context: Pick<ShareContext, 'sealing'>, data: Uint8Array): Promise<Bundle> {
  refusePlain(data, context.sealing);
  return await openArchive(context, data);
}

/** Opens and decodes an archive from anywhere, and validates the state in it. @throws MirrorError `KEY_MISSING` as well */
export async function openArchive(
  { sealing }: Pick<ShareContext, 'sealing'>,
  data: Uint8Array,
): Promise<Bundle> {
  const bundle = await decodeGeneration(isSealed(data) ? await unsealed(data, sealing) : data);
  const shown = withShownIdentity(bundle.capture);
  // Where the state shows which TPM it is, nobody is believed who says something else beside it.
  return shown.identity === undefined ? bundle : ofItsCapture(bundle.manifest, shown);
}

/** The same for one that somebody brings: what the state itself shows of the TPM's identity is believed, not what is written beside it. */
export async function openForeignArchive(
  context: Pick<ShareContext, 'sealing'>,
  data: Uint8Array,
): Promise<Bundle> {
  const { manifest, capture } = await openArchive(context, data);
  refuseReferences({ manifest });
  return ofItsCapture(manifest, withShownIdentity(capture));
}

/** A manifest says of the TPM what the capture does, so that both can be written again. */
function ofItsCapture(manifest: Manifest, capture: Capture): Bundle {
  return { manifest: { ...manifest, identity: capture.identity ?? null }, capture };
}

export function withShownIdentity(capture: Capture): Capture {
  const identities = capture.files.flatMap((file) =>
    isTpmRole(file.role) ? [validateStateFile(file.role, file.name, file.data).identity] : [],
  );
  return { ...capture, identity: identities.find((identity) => identity !== undefined) };
}

function checkPlace(uuid: DomainUuid, name: GenerationName, manifest: Manifest): void {
  const actual = [manifest.uuid, manifest.slot, manifest.epoch, manifest.host].join(' ');
  const expected = [uuid, name.slot, name.epoch, name.host].join(' ');
  if (actual !== expected) throw damaged(name, `its manifest says ${actual}, expected ${expected}`);
  const { digest, files } = manifest;
  const partsIn = parseGenerationName(referenceOf(manifest) ?? '')?.slot;
  if (partsIn !== name.partsIn) throw damaged(name, 'its parts lie elsewhere than its name tells');
  const isTpm = name.tpmDigestPrefix === undefined || tpmDigest(files).startsWith(name.tpmDigestPrefix);
  if (!digest.startsWith(name.digestPrefix) || !isTpm) {
    throw damaged(name, 'its content is not the one its name tells');
  }
}

/** Damage of the generation itself, as opposed to a share that does not answer. */
export function isDamage(error: unknown): boolean {
  return (
    error instanceof MirrorError && (error.code === 'GENERATION_DAMAGED' || error.code === 'STATE_INVALID')
  );
}

/** Whole, as far as shows without its key, which this host has not. */
export function isUnopened(error: unknown): boolean {
  return error instanceof MirrorError && error.code === 'KEY_MISSING';
}

/** Damage, a generation of a later version, one for other keys, or one in the clear where none may be: nothing that this host could hand out, and nothing that passes. */
export function isUnreadable(error: unknown): boolean {
  return isDamage(error) || isUnopened(error) || (error instanceof MirrorError && REFUSED.has(error.code));
}

const REFUSED: ReadonlySet<ErrorCode> = new Set(['SHARE_VERSION', 'STATE_NOT_UNDERSTOOD', 'PLAIN_REFUSED']);

function damaged(name: GenerationName, why: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `generation ${String(name.slot)} is damaged: ${why}`, {
    next: 'see with `swtpm-mirror verify` which generations are whole; an older one can be restored by its number',
  });
}

export function noSuchVolume(uuid: DomainUuid): MirrorError {
  return new MirrorError('NO_SUCH_DOMAIN', `the share has no volume for ${uuid}`, {
    next: 'check the UUID with `virsh domuuid NAME`; `swtpm-mirror status` lists what this host manages',
  });
}
