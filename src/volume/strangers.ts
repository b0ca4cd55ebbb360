/**
 * strangers: hosts that a volume's log names and the share has no record of.
 *
 * Every host takes its name on the share before its first commit, and keeps it when it leaves. So an
 * entry of a host without a record was written past the product, or the record was removed since. One
 * that was renamed has its former names in its record.
 * Told to people alone; nothing is decided by it.
 */
import { isHostName, type HostName } from '../model/identifiers.js';
import type { LogEntry } from '../model/log-entry.js';
import type { VolumeLog } from '../model/volume-log.js';
import { readHostRecord } from './host-record.js';
import { hostsPath, type ShareContext } from './share-context.js';

/** One listing, and none where every entry is this host's own. @returns by name */
export async function strangersIn(context: ShareContext, { entries }: VolumeLog): Promise<HostName[]> {
  const { fs, self } = context;
  const writers = new Set(entries.map(writerOf).filter((host) => host !== undefined));
  for (const own of [self.name, ...self.formerNames]) writers.delete(own);
  if (writers.size === 0) return [];
  const known = (await fs.readdir('strangers:readdir', hostsPath(context))).filter(isHostName);
  for (const host of known) writers.delete(host);
  for (const host of writers.size > 0 ? known : []) {
    const record = await readHostRecord(context, host).catch(() => undefined);
    for (const former of record?.formerNames ?? []) writers.delete(former);
  }
  return [...writers].sort();
}

function writerOf(entry: LogEntry): HostName | undefined {
  if (entry.kind === 'unknown') return undefined;
  return entry.kind === 'publish' ? entry.generation.host : entry.host;
}
