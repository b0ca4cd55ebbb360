/**
 * history: a volume's story, and whether each of its generations can still be read.
 *
 * A slot without its generation is damage, or the mark of a pruning that was interrupted: pruning takes whole epochs from the bottom, the
 * generations first, and of an epoch those first, newest first, that need others (`tidy.ts`). So those count as pruned that are missing below all others, and
 * of the oldest epoch that has any, if it is not the head's own, those that need others and are missing above all such.
 */
import type { Manifest } from '../bundle/manifest.js';
import { formatGenerationName, type GenerationName, type Slot } from '../model/generation-name.js';
import type { DomainUuid, SnapshotName } from '../model/identifiers.js';
import type { LogEntry, PublishEntry } from '../model/log-entry.js';
import type { VolumeLog } from '../model/volume-log.js';
import { listDiverged } from './diverged.js';
import { ArchiveReads, type Attempt } from './archive-reads.js';
import { noSuchVolume, readArchive, readGeneration } from './fetch.js';
import { readLog } from './log.js';
import { fetchPin, isSame, pinNames } from './pins.js';
import { volumePaths, type ShareContext } from './share-context.js';
import { strangersIn } from './strangers.js';
import type { Generation, HistoryEntry, UnreadPart } from './share-store.js';

/** @returns every entry and every diverged copy, newest first */
export async function history(context: ShareContext, uuid: DomainUuid): Promise<HistoryEntry[]> {
  const log = await readLog(context, uuid, 'all');
  if (!log) throw noSuchVolume(uuid);
  const pruned = await prunedSlots(context, uuid, log);
  const reads = new ArchiveReads(context, uuid);
  const pins = await pinnedGenerations(context, uuid, reads);
  const lines: HistoryEntry[] = [];
  for (const entry of log.entries) {
    if (entry.kind !== 'publish') lines.push(signedLine(entry));
    else if (!pruned.has(entry.slot)) {
      lines.push(await publishLine({ context, uuid, log, pins, reads }, entry));
    }
  }
  for (const name of await listDiverged(context, uuid)) {
    const path = `${volumePaths(context, uuid).diverged}/${name.file}`;
    lines.push(
      generationLine(
        'diverged',
        name.generation,
        false,
        await reads.attempt(`diverged copy ${name.file}`, () =>
          readArchive(context, uuid, name.generation, path, reads.parts),
        ),
      ),
    );
  }
  const strangers: ReadonlySet<string> = new Set(await strangersIn(context, log));
  return lines
    .map((line) => (strangers.has(line.host) ? { ...line, stranger: true as const } : line))
    .sort((a, b) => b.slot - a.slot || Number(a.kind === 'diverged') - Number(b.kind === 'diverged'));
}

interface Story {
  readonly context: ShareContext;
  readonly uuid: DomainUuid;
  readonly log: VolumeLog;
  readonly pins: readonly PinnedGeneration[];
  readonly reads: ArchiveReads;
}

async function publishLine(
  { context, uuid, log, pins, reads }: Story,
  { generation }: PublishEntry,
): Promise<HistoryEntry> {
  const counts = log.published.some((entry) => entry.generation === generation);
  const attempt = await reads.attempt(`generation ${String(generation.slot)}`, () =>
    readGeneration(context, uuid, generation, reads.parts),
  );
  const line = generationLine(counts ? 'publish' : 'diverged', generation, generation === log.head, attempt);
  return { ...line, pins: pins.filter((pin) => isSame(pin.generation, generation)).map(({ name }) => name) };
}

function generationLine(
  kind: 'publish' | 'diverged',
  name: GenerationName,
  head: boolean,
  attempt: Attempt<Generation>,
): HistoryEntry {
  const known = { kind, slot: name.slot, epoch: name.epoch, host: name.host, head, pins: [] };
  if (attempt.kind !== 'read') {
    return { ...known, time: '', reason: '', damage: attempt.error.toRecord() };
  }
  const { manifest, bytes } = attempt.value;
  const unread = unreadParts(manifest);
  const { time, reason, digest } = manifest;
  return { ...known, time, reason, bytes, sha256: digest, ...(unread.length > 0 && { unread }) };
}

function unreadParts({ files, absent = [] }: Manifest): UnreadPart[] {
  const stale = files.flatMap(({ role, stale: reason }) =>
    reason === undefined ? [] : [{ role, state: 'stale', reason } as const],
  );
  const isStale = (role: string): boolean => stale.some((part) => part.role === role);
  return [
    ...stale,
    ...absent
      .filter(({ role }) => !isStale(role))
      .map(({ role, reason }) => ({ role, state: 'absent', reason }) as const),
  ];
}

function signedLine(entry: Exclude<LogEntry, PublishEntry>): HistoryEntry {
  const { kind, slot } = entry;
  if (kind === 'unknown') {
    return { kind, slot, epoch: 0, host: '', time: '', reason: 'unreadable entry', head: false, pins: [] };
  }
  const epoch = kind === 'claim' ? slot : entry.epoch;
  const { host, at: time, reason } = entry;
  const taken =
    kind === 'claim' && entry.from !== undefined
      ? { from: entry.from, ...(entry.silentMs !== undefined && { silentMs: entry.silentMs }) }
      : {};
  return { kind, slot, epoch, host, time, reason, head: false, ...taken, pins: [] };
}

/** Slots whose generations pruning took. */
export async function prunedSlots(
  context: ShareContext,
  uuid: DomainUuid,
  { published, head }: VolumeLog,
): Promise<Set<Slot>> {
  const files = new Set(await context.fs.readdir('history:readdir-gen', volumePaths(context, uuid).gen));
  const isThere = ({ generation }: PublishEntry): boolean => files.has(formatGenerationName(generation));
  const kept = published.findIndex((entry) => entry.generation.epoch === head?.epoch || isThere(entry));
  const oldest = published[kept]?.generation.epoch;
  const inOldest = published.filter(({ generation }) => generation.epoch === oldest);
  const needy = oldest === head?.epoch ? [] : inOldest.filter(({ generation }) => generation.partsIn);
  const begun = needy.slice(needy.findLastIndex(isThere) + 1);
  return new Set([...published.slice(0, kept), ...begun].map((entry) => entry.slot));
}

interface PinnedGeneration {
  readonly name: SnapshotName;
  readonly generation: GenerationName;
}

/** Those that can be read. */
async function pinnedGenerations(
  context: ShareContext,
  uuid: DomainUuid,
  reads: ArchiveReads,
): Promise<PinnedGeneration[]> {
  const pins: PinnedGeneration[] = [];
  for (const name of await pinNames(context, uuid)) {
    const attempt = await reads.attempt(`snapshot ${name}`, () => fetchPin(context, { uuid, name }));
    if (attempt.kind === 'read') pins.push({ name, generation: attempt.value.name });
  }
  return pins;
}
