/**
 * survey: hosts and volumes of a share, seen from the share alone.
 *
 * Ages are measured as in `hosts.ts`, with one clock, the server's.
 */
import { asMirrorError, errnoOf, type ErrorRecord } from '../model/errors.js';
import type { GenerationName } from '../model/generation-name.js';
import { isDomainUuid, isHostName, type DomainUuid, type HostName } from '../model/identifiers.js';
import type { VolumeLog } from '../model/volume-log.js';
import { listDiverged } from './diverged.js';
import { isUnopened, readHead } from './fetch.js';
import type { Heartbeat, Presence } from './hosts.js';
import { readLog } from './log.js';
import { pinNames } from './pins.js';
import type { HostPresence, Survey, SurveyCall, VolumeSummary } from './share-administration.js';
import { hostsPath, purgedPath, TEMPORARY_PREFIX, volumesPath, type ShareContext } from './share-context.js';
import { shareError } from './share-errors.js';
import { strangersIn } from './strangers.js';
import type { HeadReading, ShareIdentity } from './share-store.js';

export async function survey(
  context: ShareContext,
  heartbeat: Heartbeat,
  share: ShareIdentity,
  { hostExpiryMs }: SurveyCall,
): Promise<Survey> {
  const { fs } = context;
  const names = (await fs.readdir('survey:readdir-hosts', hostsPath(context))).filter(isHostName).sort();
  const nowNs = await heartbeat.serverTimeNs();
  const hosts: HostPresence[] = [];
  const noHosts: HostName[] = [];
  for (let at = 0; at < names.length; at += BATCH) {
    const batch = names.slice(at, at + BATCH);
    // What the first of a batch took shows in the age of the others: those are read side by side.
    const seen = await Promise.all(batch.map((host) => presenceOf(heartbeat, host, nowNs, hostExpiryMs)));
    for (const [index, presence] of seen.entries()) {
      if (presence) hosts.push(presence);
      else noHosts.push(...batch.slice(index, index + 1));
    }
  }
  const entries = (await fs.readdir('survey:readdir', volumesPath(context))).sort();
  const left = await namesIn(context, purgedPath(context));
  const strays = [
    ...noHosts.map((name) => `hosts/${name}`),
    ...entries.filter((name) => !isDomainUuid(name)).map((name) => `volumes/${name}`),
  ];
  return {
    share,
    hosts,
    volumes: entries.filter(isDomainUuid),
    strays: [...strays, ...left.sort().map((name) => `purged/${name}`)],
  };
}

/** @returns `undefined` for what is no host's directory */
async function presenceOf(
  heartbeat: Heartbeat,
  host: HostName,
  nowNs: bigint,
  hostExpiryMs: number,
): Promise<HostPresence | undefined> {
  let seen: Presence | undefined;
  try {
    seen = await heartbeat.presenceOf({ host }, nowNs);
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    const problem = shareError(`read the heartbeat of host ${host}`, error).toRecord();
    const unknown = {
      heartbeatAgeMs: undefined,
      fenced: false,
      isWatched: false,
      aheadMs: 0,
      version: undefined,
    };
    return { host, ...unknown, alive: false, problem };
  }
  const fenced = seen?.fenced ?? false;
  const alive = seen !== undefined && !fenced && seen.silentMs < hostExpiryMs;
  return {
    host,
    id: seen?.id,
    heartbeatAgeMs: seen?.silentMs,
    aheadMs: seen?.aheadMs ?? 0,
    isWatched: seen?.isWatched ?? false,
    alive,
    fenced,
    version: seen?.version,
  };
}

/** Hosts read at a time. */
const BATCH = 4;

const NOTHING = { name: '', holder: undefined, tombstoned: false, head: undefined, generations: 0 };

/** What is wrong with this volume alone is told beside its name. @throws MirrorError `NO_SUCH_DOMAIN`, `SHARE_*` */
export async function summarise(context: ShareContext, uuid: DomainUuid): Promise<VolumeSummary> {
  const counts = { uuid, ...NOTHING, pins: 0, diverged: 0 };
  try {
    counts.pins = (await pinNames(context, uuid)).length;
    counts.diverged = (await listDiverged(context, uuid)).length;
    const log = await readLog(context, uuid, 'all');
    if (!log) return counts;
    const diverged = counts.diverged + log.diverged.length;
    return { ...counts, ...(await summaryOf(context, uuid, log)), diverged };
  } catch (error) {
    const problem = shareError(`read volume ${uuid}`, error);
    if (!PROBLEMS.has(problem.code)) throw problem;
    return { ...counts, problem: problem.toRecord() };
  }
}

async function summaryOf(
  context: ShareContext,
  uuid: DomainUuid,
  log: VolumeLog,
): Promise<Partial<VolumeSummary>> {
  const head = await readHeadOrKeyless(context, uuid, log);
  return {
    holder: log.holder,
    strangers: await strangersIn(context, log),
    tombstoned: log.tombstone !== undefined,
    generations: log.published.length,
    ...(head.kind === 'whole' && {
      name: head.generation.manifest.name,
      head: head.generation.manifest,
    }),
    ...(head.kind === 'damaged' && { problem: head.error }),
    ...(head.kind === 'unopened' && { problem: head.error, head: headByName(head.name) }),
  };
}

/** A fleet is looked at from hosts that have no key as well. */
async function readHeadOrKeyless(
  context: ShareContext,
  uuid: DomainUuid,
  log: VolumeLog,
): Promise<
  HeadReading | { readonly kind: 'unopened'; readonly name: GenerationName; readonly error: ErrorRecord }
> {
  try {
    return await readHead(context, uuid, log);
  } catch (error) {
    if (!isUnopened(error) || !log.head) throw error;
    return { kind: 'unopened', name: log.head, error: asMirrorError(error).toRecord() };
  }
}

/** As much as shows without a key. */
function headByName({ slot, epoch, host, digestPrefix }: GenerationName): VolumeSummary['head'] {
  return { slot, epoch, host, digest: digestPrefix, time: '', reason: '' };
}

const PROBLEMS: ReadonlySet<string> = new Set([
  'VOLUME_DAMAGED',
  'SHARE_TAMPERED',
  'SHARE_VERSION',
  'PLAIN_REFUSED',
]);

/** None when there is no such directory. */
async function namesIn({ fs }: ShareContext, path: string): Promise<string[]> {
  try {
    return (await fs.readdir('survey:readdir', path)).filter((name) => !name.startsWith(TEMPORARY_PREFIX));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
