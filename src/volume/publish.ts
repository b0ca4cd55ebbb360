/**
 * publish: add one generation to a held volume and make it the head, or change nothing.
 *
 *   P1 write a temporary file   nothing is durable; the name is unique to host and attempt
 *   P2 fsync, close             the bytes are durable under a name that no reader opens; every byte count checked
 *   P3 rename, sync gen/        the bytes have their final unique name; still no reader looks for it
 *   P4 look for our claim       not there: the volume was purged and made anew, and its slots are not the ones that we know of
 *   P5 commit the slot          exclusive, so a foreign claim in this slot means that we are fenced
 *   P6 look for our claim       gone means pruned: we were fenced long ago, and so was the slot that looked free
 *
 * I1 A reader sees a complete generation or none: it reaches one only through a slot (P5 after P2).
 * I2 An acknowledged generation survives power loss (P2 and P3 before P5; P5 durable before we return).
 * I3 A fenced holder changes nothing: P5 is the only step readers see, and it cannot replace.
 * I4 The writer is the only one of its epoch, so the next slot is known without reading the log.
 * I5 A holder that slept through a take-over and the pruning of its epoch learns it: pruning goes upwards, so where the foreign claim
 *    in our slot is gone, our own claim below it went before. P4 and P6 are answered from the cache of the client unless another host changed the
 *    log; the change that we made ourselves then makes the client ask. A directory that was deleted makes it ask in P1, before P4.
 * I6 A holder whose volume was purged learns it: where directories and claim are gone and the marker is not, the outcome is left to a claim. What the
 *    client says from its caches while another export stands there proves nothing; a claim beats first, and the server must answer to that.
 * Not guaranteed: that an unacknowledged generation is absent. It may have been committed: OUTCOME_UNKNOWN, resolved by a claim.
 *
 * I7 What a part's reference names was acknowledged in this very epoch, and only a whole epoch is ever pruned: so it is there as long as
 *    what names it (`tidy.ts`). Who publishes remembers it (`agent/share/part-references.ts`); nothing is asked of the share for it.
 *
 * What cannot become the head is kept in `diverged/`. A fenced host keeps its newest state only: a new copy, once it is durable, replaces
 * the copies of the same host and the same epoch, so their number stays bounded. Copies of others are never touched.
 */
import { describeCapture, encodeBundle } from '../bundle/archive.js';
import type { Capture } from '../model/capture.js';
import { contentBytes } from '../model/content.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { CallSite } from '../model/filesystem.js';
import {
  contentPrefixes,
  formatGenerationName,
  parseGenerationName,
  type GenerationName,
  type Slot,
} from '../model/generation-name.js';
import { tpmDigest } from '../model/hash.js';
import { bearsName, canCommitUnder, isOwn } from '../model/host-identity.js';
import type { HostName } from '../model/identifiers.js';
import { parsePayload, type ClosingEntry, type LogEntry, type PublishEntry } from '../model/log-entry.js';
import { partsOf } from '../model/parts.js';
import { commit, unknownOutcome, type SlotOutcome } from './commit.js';
import { ensureDirectory, isGone, unlinkIfThere, writeWhole } from './files.js';
import {
  authorOf,
  DIRECTORY_MODE,
  markerPath,
  newToken,
  slotPath,
  TEMPORARY_PREFIX,
  timestamp,
  volumePaths,
  volumesPath,
  type ShareContext,
  type VolumePaths,
} from './share-context.js';
import { shareError } from './share-errors.js';
import type { CloseEpochCall, CommitOutcome, DivergeCall, PublishCall, StoredPart } from './share-store.js';

export async function publish(context: ShareContext, call: PublishCall): Promise<CommitOutcome> {
  const paths = volumePaths(context, call.uuid);
  const generation = nameFor(context, call);
  const entry: PublishEntry = { kind: 'publish', slot: call.slot, generation };
  let outcome: SlotOutcome;
  try {
    await placeArchive(context, 'publish', call, paths.gen, generation);
    outcome = await commitUnderClaim(context, 'publish', paths, call.epoch, entry);
  } catch (error) {
    const cause = error instanceof MirrorError ? error.cause : undefined;
    if (isGone(cause) && (await seemsPurged(context, paths, call))) {
      throw unknownOutcome('publish', call.slot, cause);
    }
    throw error;
  }
  if (outcome.kind === 'committed' && (await isClaimStillThere(context, paths, call))) {
    const parts = storedParts(call.capture, formatGenerationName(generation));
    return { kind: 'committed', slot: call.slot, ...(parts.length > 0 && { parts }) };
  }
  const by = outcome.kind === 'taken' ? otherWriter(context, outcome.entry) : undefined;
  if (outcome.kind !== 'taken' || by !== undefined || outcome.entry.kind === 'unknown') {
    try {
      await moveToDiverged(context, paths, generation);
    } catch {
      // Being fenced is the news. The caller still has the capture, and the file is left to the new holder's sweep, which keeps it.
    }
  }
  return { kind: 'fenced', slot: call.slot, by };
}

function storedParts(capture: Capture, generation: string): StoredPart[] {
  return partsOf(capture).map((file) => {
    const { role, sha256 } = file;
    return { role, sha256, in: file.in ?? { generation, bytes: contentBytes(file) } };
  });
}

/** Whether that may be why a publish met a directory that is not there (I6). */
async function seemsPurged(
  context: ShareContext,
  paths: VolumePaths,
  { epoch }: PublishCall,
): Promise<boolean> {
  try {
    const claim = await claimAt(context, 'publish:check-purged', paths, epoch).catch(unlessGone);
    if (claim) return false;
    await context.fs.lstat('publish:lstat-marker', markerPath(context));
    return true;
  } catch {
    // The share went away while we looked: the failure itself is the one to tell.
    return false;
  }
}

function unlessGone(error: unknown): undefined {
  if (!isGone(error)) throw error;
}

/** P4 and P5. */
async function commitUnderClaim(
  context: ShareContext,
  operation: string,
  paths: VolumePaths,
  epoch: Slot,
  entry: PublishEntry | ClosingEntry,
): Promise<SlotOutcome> {
  const found = await claimAt(context, `${operation}:check-claim`, paths, epoch);
  if (found?.kind !== 'claim' || !isOwn(found, context.self)) {
    return { kind: 'taken', entry: found ?? { kind: 'unknown', slot: epoch, payload: '' } };
  }
  // An entry counts under a claim of the same name alone, and a copy of this machine's disk has had the
  // claims of earlier boots, too: under either, this host claims anew.
  if (!canCommitUnder(found, context.self)) {
    throw bearsName(found, context.self)
      ? claimedBefore(operation, entry.slot)
      : renamed(operation, entry.slot, found.host);
  }
  return await commit(context, operation, paths, entry);
}

/** P6. */
async function isClaimStillThere(
  context: ShareContext,
  paths: VolumePaths,
  { epoch, slot }: PublishCall,
): Promise<boolean> {
  try {
    const found = await claimAt(context, 'publish:readlink-claim', paths, epoch);
    return found?.kind === 'claim' && isOwn(found, context.self);
  } catch (error) {
    throw unknownOutcome('publish', slot, error);
  }
}

/** What stands where the claim of an epoch was made; `undefined` for nothing. */
async function claimAt(
  { fs }: ShareContext,
  site: CallSite,
  paths: VolumePaths,
  epoch: Slot,
): Promise<LogEntry | undefined> {
  try {
    return parsePayload(epoch, await fs.readlink(site, slotPath(paths, epoch)));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** For a generation whose slot is another's for good, so that it can never be committed. */
export async function moveToDiverged(
  { fs }: ShareContext,
  paths: VolumePaths,
  generation: GenerationName,
): Promise<void> {
  const name = formatGenerationName(generation);
  try {
    await fs.rename('diverge:rename', `${paths.gen}/${name}`, `${paths.diverged}/${name}`);
    await fs.syncDirectory('diverge:sync', paths.diverged);
  } catch (error) {
    throw shareError(`keep ${name} as a diverged copy`, error);
  }
}

/** Ends the epoch that this host holds: in good order (`release`), or for good (`tombstone`). */
export async function closeEpoch(context: ShareContext, call: CloseEpochCall): Promise<CommitOutcome> {
  const entry: ClosingEntry = {
    kind: call.kind,
    slot: call.slot,
    ...authorOf(context),
    token: newToken(context),
    at: timestamp(context),
    epoch: call.epoch,
    reason: call.reason,
  };
  const paths = volumePaths(context, call.uuid);
  return toCommitOutcome(
    context,
    await commitUnderClaim(context, call.kind, paths, call.epoch, entry),
    call.slot,
  );
}

/** Keeps a capture that cannot become the head. The same content of the same host is kept once. */
export async function diverge(context: ShareContext, call: DivergeCall): Promise<void> {
  const { fs } = context;
  const { root, diverged } = volumePaths(context, call.uuid);
  const name = nameFor(context, call);
  // The volume may never have come to be: then this copy is all that there is of the domain.
  await ensureDirectory(fs, 'diverge', volumesPath(context), root, DIRECTORY_MODE);
  await ensureDirectory(fs, 'diverge', root, diverged, DIRECTORY_MODE);
  const own = ownCopies(context, await fs.readdir('diverge:readdir', diverged));
  const alike = own.filter((copy) => !copy.temporary && copy.name.digestPrefix === name.digestPrefix);
  const same = alike.find((copy) => copy.name.partsIn === undefined);
  if (!same) await placeArchive(context, 'diverge', { ...call, parent: 0 }, diverged, name);
  // Found there is not durable yet: whoever put it there may have died before this.
  else await fs.syncDirectory('diverge:sync-gen', diverged);
  for (const copy of own) {
    // Only the caller knows whether two states are of one run, in this order: one claim can see two TPMs, and a file that went back in time.
    const comesBefore = call.supersedes?.startsWith(copy.name.digestPrefix) && copy.name.epoch === call.epoch;
    // What has its parts elsewhere makes room for the whole.
    const isBettered = alike.includes(copy) && copy.name.partsIn !== undefined;
    const goes = copy.temporary || isBettered || (copy !== same && comesBefore);
    if (goes) await unlinkIfThere(fs, 'diverge:unlink', `${diverged}/${copy.file}`);
  }
}

interface DivergedCopy {
  readonly file: string;
  readonly name: GenerationName;
  /** Left by a write that was interrupted. */
  readonly temporary: boolean;
}

function ownCopies({ self }: ShareContext, files: readonly string[]): DivergedCopy[] {
  const names: readonly string[] = [self.name, ...self.formerNames];
  return files.flatMap((file) => {
    const temporary = file.startsWith(TEMPORARY_PREFIX);
    const name = parseGenerationName(temporary ? file.slice(TEMPORARY_PREFIX.length) : file);
    return name && names.includes(name.host) ? [{ file, name, temporary }] : [];
  });
}

function nameFor(
  context: ShareContext,
  { slot, epoch, capture }: Pick<PublishCall, 'slot' | 'epoch' | 'capture'>,
): GenerationName {
  const { digest, files } = capture;
  const partsIn = parseGenerationName(files.find((file) => file.in)?.in?.generation ?? '')?.slot;
  return {
    slot,
    epoch,
    host: context.self.name,
    ...contentPrefixes({ digest, tpmDigest: tpmDigest(files) }),
    ...(partsIn !== undefined && { partsIn }),
    nonce: newToken(context),
  };
}

/** P1 to P3. */
async function placeArchive(
  context: ShareContext,
  operation: string,
  call: PublishCall,
  directory: string,
  name: GenerationName,
): Promise<void> {
  const { fs } = context;
  const { note, capture, slot, epoch, parent } = call;
  const time = timestamp(context);
  const { domainName, ...rest } = note;
  const manifest = describeCapture(capture, {
    ...rest,
    name: domainName,
    slot,
    epoch,
    parent,
    host: context.self.name,
    time,
  });
  const archive = await encodeBundle(manifest, capture);
  const stored = context.sealing ? await context.sealing.seal(archive) : archive;
  const final = `${directory}/${formatGenerationName(name)}`;
  const temporary = `${directory}/${TEMPORARY_PREFIX}${formatGenerationName(name)}`;
  try {
    await writeWhole(fs, operation, temporary, stored);
    await fs.rename(`${operation}:rename`, temporary, final);
    await fs.syncDirectory(`${operation}:sync-gen`, directory);
  } catch (error) {
    // Frees the space of a write that met a full disk; what this misses, the holder's next sweep removes.
    await fs.unlink(`${operation}:unlink-temporary`, temporary).catch(() => undefined);
    throw shareError(`${operation} the state of ${call.uuid}`, error);
  }
}

function toCommitOutcome(context: ShareContext, outcome: SlotOutcome, slot: number): CommitOutcome {
  return outcome.kind === 'committed'
    ? { kind: 'committed', slot }
    : { kind: 'fenced', slot, by: otherWriter(context, outcome.entry) };
}

/** The other host whose entry it is; `undefined` for one of this host's own, and for one that cannot be read. */
function otherWriter({ self }: ShareContext, entry: LogEntry): HostName | undefined {
  if (entry.kind === 'unknown') return undefined;
  if (entry.kind !== 'publish') return isOwn(entry, self) ? undefined : entry.host;
  // Only a host's own epochs have its publishes, and whoever asks has found its claim to be its own.
  return bearsName(entry.generation, self) ? undefined : entry.generation.host;
}

function claimedBefore(operation: string, slot: Slot): MirrorError {
  return new MirrorError(
    'OUTCOME_UNKNOWN',
    `cannot ${operation} in slot ${String(slot)}: this host claimed the volume in an earlier boot`,
    { next: 'nothing to do: it claims the volume in this one', retriable: true },
  );
}

function renamed(operation: string, slot: Slot, host: HostName): MirrorError {
  return new MirrorError(
    'OUTCOME_UNKNOWN',
    `cannot ${operation} in slot ${String(slot)}: this host claimed the volume under its former name ${host}`,
    { next: 'nothing to do: it claims the volume under its present name', retriable: true },
  );
}
