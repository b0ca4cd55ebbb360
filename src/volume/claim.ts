/**
 * claim: become the holder of a volume, or learn why not.
 *
 *   P1 beat                                others see this host alive (the caller has checked the marker), and it sees whether it is doubled
 *   P2 read the log                        holder, head, next slot
 *   P3 judge the holder                    free, own, expired, or refused
 *   P4 commit a claim in the next slot     lost: back to P2
 *   P5 read the log again                  not the latest claim: back to P2
 *
 * I1 Everything below a committed claim is final: what the former holder acknowledged is there (its slot is below ours), and what it
 *    tries next finds its slot taken (it can only aim at ours).
 * I2 The head handed out with a claim is the head for good until this host publishes: what was below the claim at P5 was there before it.
 * I3 A claim resolves every earlier commit of this host whose outcome is unknown: either that one holds a slot below, and
 *    counts, or its slot is now ours, and it can never take place.
 *
 * Why P5: a commit that was held up for long can land in a slot that was taken, and pruned, meanwhile. It succeeds, and means nothing.
 */
import { errnoOf, MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { isOwn } from '../model/host-identity.js';
import type { ClaimEntry } from '../model/log-entry.js';
import { readVolumeLog, type Holder, type VolumeLog } from '../model/volume-log.js';
import { commit, unknownOutcome } from './commit.js';
import { ensureDirectory } from './files.js';
import { refuseDouble } from './host-double.js';
import type { Heartbeat } from './hosts.js';
import { readLog, TOP_OF_LOG } from './log.js';
import {
  authorOf,
  DIRECTORY_MODE,
  newToken,
  timestamp,
  volumePaths,
  volumesPath,
  type ShareContext,
} from './share-context.js';
import type { ClaimCall, ClaimOutcome, LivingHolder } from './share-store.js';

/** Races lost in a row before the caller is told; each loss means that somebody else's commit went through. */
const ATTEMPTS = 16;

export async function claim(
  context: ShareContext,
  heartbeat: Heartbeat,
  call: ClaimCall,
): Promise<ClaimOutcome> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const beatNs = await heartbeat.beat();
    refuseDouble(heartbeat.double(call.hostExpiryMs));
    const log = (await readLog(context, call.uuid, TOP_OF_LOG)) ?? readVolumeLog([]);
    const holder =
      log.holder && (await judgeHolder(context, heartbeat, beatNs, log.holder, call.hostExpiryMs));
    const refusal = refuse(call, log, holder);
    if (refusal) {
      // The release or tombstone may be our own, from a commit in doubt: nobody is told of it before it is durable.
      if (refusal.kind !== 'held' && log.top > 0) {
        await context.fs.syncDirectory('claim:sync-log', volumePaths(context, call.uuid).log);
      }
      return refusal;
    }
    if (log.top === 0) await makeVolume(context, call.uuid);
    const entry: ClaimEntry = {
      kind: 'claim',
      slot: log.top + 1,
      ...authorOf(context),
      token: newToken(context),
      at: timestamp(context),
      reason: call.reason,
      ...(holder && !holder.self && takenFrom(holder)),
    };
    const outcome = await commit(context, 'claim', volumePaths(context, call.uuid), entry);
    const settled = outcome.kind === 'committed' ? await readAsLatest(context, call.uuid, entry) : undefined;
    if (settled) return { kind: 'claimed', epoch: entry.slot, log: settled, from: log.holder };
  }
  throw new MirrorError('TAKE_OVER_LOST', `lost ${String(ATTEMPTS)} races for volume ${call.uuid} in a row`, {
    next: 'see with `swtpm-mirror history --all` who else claims it; then try again',
    retriable: true,
  });
}

export async function judgeHolder(
  context: ShareContext,
  heartbeat: Heartbeat,
  beatNs: bigint,
  holder: Holder,
  hostExpiryMs: number,
): Promise<LivingHolder> {
  if (isOwn(holder, context.self)) return { ...holder, self: true, alive: true, heartbeatAgeMs: 0 };
  const presence = await heartbeat.presenceOf(holder, beatNs);
  const heartbeatAgeMs = presence?.silentMs;
  const isSilent = heartbeatAgeMs === undefined || heartbeatAgeMs >= hostExpiryMs;
  const alive = !isSilent && presence?.fenced !== true;
  const isWatched = alive && presence?.isWatched === true;
  return { ...holder, self: false, alive, heartbeatAgeMs, ...(isWatched && { isWatched }) };
}

function takenFrom({ host, heartbeatAgeMs }: LivingHolder): Pick<ClaimEntry, 'from' | 'silentMs'> {
  if (heartbeatAgeMs === undefined) return { from: host };
  return { from: host, silentMs: Math.max(0, Math.round(heartbeatAgeMs)) };
}

function refuse(call: ClaimCall, log: VolumeLog, holder: LivingHolder | undefined): ClaimOutcome | undefined {
  if (call.onTopOf !== undefined && log.top !== call.onTopOf) return { kind: 'moved', log };
  if (log.tombstone && !call.revive) return { kind: 'tombstoned', log };
  if (!holder) return call.scope === 'own' ? { kind: 'free', log } : undefined;
  if (holder.self || call.scope === 'forced') return undefined;
  if (call.scope === 'expired' && !holder.alive) return undefined;
  return { kind: 'held', holder, log };
}

/** P5. @returns the log that ends with this claim, `undefined` when it does not */
async function readAsLatest(
  context: ShareContext,
  uuid: DomainUuid,
  { slot, token }: ClaimEntry,
): Promise<VolumeLog | undefined> {
  try {
    const log = await readLog(context, uuid, TOP_OF_LOG);
    return log?.epoch === slot && log.lastClaim?.token === token ? log : undefined;
  } catch (error) {
    throw errnoOf(error) === undefined ? error : unknownOutcome('claim', slot, error);
  }
}

/** Makes a volume's directories; the log comes last, so that where it is, the others are. */
async function makeVolume(context: ShareContext, uuid: DomainUuid): Promise<void> {
  const paths = volumePaths(context, uuid);
  const { fs } = context;
  await ensureDirectory(fs, 'claim', volumesPath(context), paths.root, DIRECTORY_MODE);
  for (const path of [paths.gen, paths.diverged, paths.log]) {
    await ensureDirectory(fs, 'claim', paths.root, path, DIRECTORY_MODE);
  }
}
