/**
 * earlier-log: how a volume's log stood at an earlier instant of this host, when nobody could look. A slot is made once and never written again, so that its
 * time, set by the server, tells when it was made; hosts' clocks play no part.
 *
 * I1 What is in doubt, because the question for the server's time takes its time, counts against the asker: a claim then was not yet there, and the log's
 *    top already was.
 */
import type { ClaimEntry, LogEntry } from '../model/log-entry.js';
import { hasAbandonedEpoch } from '../model/volume-log.js';
import type { Heartbeat } from './hosts.js';
import { readLog } from './log.js';
import { slotPath, volumePaths, type ShareContext } from './share-context.js';
import type { EarlierLog, RecallCall } from './share-store.js';

const NS_PER_MS = 1e6;

export async function recallLog(
  context: ShareContext,
  heartbeat: Heartbeat,
  { uuid, atMs }: RecallCall,
): Promise<EarlierLog> {
  const { clock, fs } = context;
  const log = await readLog(context, uuid, 'all');
  const askedMs = clock.monotonicMs();
  const serverNs = await heartbeat.serverTimeNs();
  const answeredMs = clock.monotonicMs();
  const latestNs = serverNs - BigInt(Math.floor((askedMs - atMs) * NS_PER_MS));
  const earliestNs = serverNs - BigInt(Math.ceil((answeredMs - atMs) * NS_PER_MS));
  const contested = log !== undefined && (hasAbandonedEpoch(log) || log.entries.some(isTakenFromAnother));
  const paths = volumePaths(context, uuid);
  let top: LogEntry | undefined;
  for (const entry of [...(log?.entries ?? [])].reverse()) {
    const { mtimeNs } = await fs.lstat('log:lstat', slotPath(paths, entry.slot));
    if (mtimeNs <= latestNs) top ??= entry;
    if (mtimeNs <= earliestNs && isClaim(entry)) {
      return { top: top?.slot ?? entry.slot, lastClaim: entry, contested };
    }
  }
  // What pruning took may have stood there.
  const pruned = (log?.entries[0]?.slot ?? 1) - 1;
  return { top: top?.slot ?? pruned, lastClaim: undefined, contested };
}

/** Whoever it was taken from may be pruned. */
function isTakenFromAnother(entry: LogEntry): boolean {
  return entry.kind === 'claim' && entry.from !== undefined;
}

function isClaim(entry: LogEntry): entry is ClaimEntry {
  return entry.kind === 'claim';
}
