/**
 * take-over: whether the holder of a volume took it from another host that had not released it, as its log tells. Pure.
 */
import { isSameHost } from './host-identity.js';
import type { HostName } from './identifiers.js';
import type { VolumeLog } from './volume-log.js';

export interface TakeOver {
  /** The host that held the volume before. */
  readonly from: HostName;
  /** RFC 3339 UTC by the clock of the host that took it: for display only. */
  readonly at: string;
  /** How old the other host's heartbeat was, ms; `null` where it had none. */
  readonly silentMs: number | null;
}

/**
 * The holder may have claimed again since: those claims count as one.
 *
 * @param log as far down as it was read
 */
export function takeOverIn({
  entries,
  lastClaim,
}: Pick<VolumeLog, 'entries' | 'lastClaim'>): TakeOver | undefined {
  for (const entry of [...entries].reverse()) {
    if (entry.kind === 'release' || entry.kind === 'tombstone') return undefined;
    if (entry.kind !== 'claim') continue;
    if (!lastClaim || !isSameHost(entry, lastClaim)) return undefined;
    const { from, at, silentMs = null } = entry;
    if (from !== undefined) return { from, at, silentMs };
  }
  return undefined;
}
