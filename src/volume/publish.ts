/**
 * publish: add one generation to a held volume and make it the head, or change nothing.
 *
 *   P1 write a temporary file   nothing is durable; the name is unique to host and attempt
 *   P2 fsync, close             the bytes are durable under a name that no reader opens; every byte count checked
 *   P3 rename, sync gen/        the bytes have their final unique name; still no reader looks for it
 *   P4 commit the slot          exclusive, so a foreign claim in this slot means that we are fenced
 *
 * I1 A reader sees a complete generation or none: it reaches one only through a slot (P4 after P2).
 * I2 An acknowledged generation survives power loss (P2 and P3 before P4; P4 durable before we return).
 * I3 A fenced holder changes nothing: P4 is the only step readers see, and it cannot replace.
 * I4 The writer is the only one of its epoch, so the next slot is known without reading the log.
 * Not guaranteed: that an unacknowledged generation is absent. It may have been committed: OUTCOME_UNKNOWN, resolved by a claim.
 */
import { describeCapture, encodeBundle } from '../bundle/archive.js';
import { DIGEST_PREFIX_DIGITS, formatGenerationName, type GenerationName } from '../model/generation-name.js';
import type { HostName } from '../model/identifiers.js';
import type { LogEntry } from '../model/log-entry.js';
import { commit, type SlotOutcome } from './commit.js';
import { ensureDirectory, writeWhole } from './files.js';
import {
  DIRECTORY_MODE,
  newToken,
  TEMPORARY_PREFIX,
  timestamp,
  volumePaths,
  type ShareContext,
  type VolumePaths,
} from './share-context.js';
import { shareError } from './share-errors.js';
import type { CloseEpochCall, CommitOutcome, DivergeCall, PublishCall } from './share-store.js';

export async function publish(context: ShareContext, call: PublishCall): Promise<CommitOutcome> {
  const paths = volumePaths(context, call.uuid);
  const generation = nameFor(context, call);
  await placeArchive(context, 'publish', call, call.parent, paths.gen, generation);
  const outcome = await commit(context, 'publish', paths, { kind: 'publish', slot: call.slot, generation });
  if (outcome.kind === 'taken' && writerOf(outcome.entry) !== context.host) {
    await moveToDiverged(context, paths, generation);
  }
  return toCommitOutcome(outcome, call.slot);
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
  const entry: LogEntry = {
    kind: call.kind,
    slot: call.slot,
    host: context.host,
    token: newToken(context),
    at: timestamp(context),
    epoch: call.epoch,
    reason: call.reason,
  };
  return toCommitOutcome(await commit(context, call.kind, volumePaths(context, call.uuid), entry), call.slot);
}

/** Keeps a capture that cannot become the head. The same content of the same host is kept once. */
export async function diverge(context: ShareContext, call: DivergeCall): Promise<void> {
  const paths = volumePaths(context, call.uuid);
  const name = nameFor(context, call);
  await ensureDirectory(context.fs, 'diverge', paths.root, paths.diverged, DIRECTORY_MODE);
  const present = await context.fs.readdir('diverge:readdir', paths.diverged);
  if (present.some((other) => other.includes(`-${context.host}-${name.digestPrefix}-`))) return;
  await placeArchive(context, 'diverge', call, 0, paths.diverged, name);
}

function nameFor(context: ShareContext, call: Pick<PublishCall, 'slot' | 'epoch' | 'capture'>): GenerationName {
  return {
    slot: call.slot,
    epoch: call.epoch,
    host: context.host,
    digestPrefix: call.capture.digest.slice(0, DIGEST_PREFIX_DIGITS),
    nonce: newToken(context),
  };
}

/** P1 to P3. */
async function placeArchive(
  context: ShareContext,
  operation: string,
  call: DivergeCall,
  parent: number,
  directory: string,
  name: GenerationName,
): Promise<void> {
  const { fs } = context;
  const { note, capture, slot, epoch } = call;
  const time = timestamp(context);
  const { domainName, ...rest } = note;
  const manifest = describeCapture(capture, { ...rest, name: domainName, slot, epoch, parent, host: context.host, time });
  const archive = await encodeBundle(manifest, capture);
  const final = `${directory}/${formatGenerationName(name)}`;
  const temporary = `${directory}/${TEMPORARY_PREFIX}${formatGenerationName(name)}`;
  try {
    await writeWhole(fs, operation, temporary, archive);
    await fs.rename(`${operation}:rename`, temporary, final);
    await fs.syncDirectory(`${operation}:sync-gen`, directory);
  } catch (error) {
    // Frees the space of a write that met a full disk; what this misses, the holder's next sweep removes.
    await fs.unlink(`${operation}:unlink-temporary`, temporary).catch(() => undefined);
    throw shareError(`${operation} the state of ${call.uuid}`, error);
  }
}

function toCommitOutcome(outcome: SlotOutcome, slot: number): CommitOutcome {
  return outcome.kind === 'committed' ? { kind: 'committed', slot } : { kind: 'fenced', slot, by: writerOf(outcome.entry) };
}

function writerOf(entry: LogEntry): HostName | undefined {
  if (entry.kind === 'unknown') return undefined;
  return entry.kind === 'publish' ? entry.generation.host : entry.host;
}
