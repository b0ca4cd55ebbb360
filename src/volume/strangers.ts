/**
 * strangers: hosts that a volume's log names and the share has no record of.
 *
 * Every host takes its name on the share before its first commit, and keeps it when it leaves. So an
 * entry of a host without a record was written past the product, or the record was removed since.
 * Told to people alone; nothing is decided by it.
 */
import type { HostName } from '../model/identifiers.js';
import type { VolumeLog } from '../model/volume-log.js';
import { writerOf } from './publish.js';
import { hostsPath, type ShareContext } from './share-context.js';

/** One listing, and none where every entry is this host's own. @returns by name */
export async function strangersIn(context: ShareContext, { entries }: VolumeLog): Promise<HostName[]> {
  const writers = new Set(entries.map(writerOf).filter((host) => host !== undefined));
  writers.delete(context.host);
  if (writers.size === 0) return [];
  const known = new Set(await context.fs.readdir('strangers:readdir', hostsPath(context)));
  return [...writers].filter((host) => !known.has(host)).sort();
}
