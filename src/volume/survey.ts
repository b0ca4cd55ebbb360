/**
 * survey: hosts and volumes of a share, seen from the share alone.
 *
 * Ages are measured as in `hosts.ts`, with one clock, the server's.
 */
import { asMirrorError, errnoOf, MirrorError, type ErrorRecord } from '../model/errors.js';
import type { GenerationName } from '../model/generation-name.js';
import { isDomainUuid, isHostName, type DomainUuid, type HostName } from '../model/identifiers.js';
import type { VolumeLog } from '../model/volume-log.js';
import { isUnopened, readHead } from './fetch.js';
import type { Heartbeat } from './hosts.js';
import { readLog } from './log.js';
import { pinNames } from './pins.js';
import type { HostPresence, Survey, SurveyCall, VolumeSummary } from './share-administration.js';
import {
  hostsPath,
  purgedPath,
  TEMPORARY_PREFIX,
  volumePaths,
  volumesPath,
  type ShareContext,
} from './share-context.js';
import type { HeadReading, ShareIdentity } from './share-store.js';

export async function survey(
  context: ShareContext,
  heartbeat: Heartbeat,
  share: ShareIdentity,
  { hostExpiryMs }: SurveyCall,
): Promise<Survey> {
  const { fs } = context;
  const names = (await fs.readdir('survey:readdir-hosts', hostsPath(context))).filter(isHostName).sort();
  const hosts: HostPresence[] = [];
  const nowNs = await heartbeat.serverTimeNs();
  for (const host of names) hosts.push(await presenceOf(heartbeat, host, nowNs, hostExpiryMs));
  const entries = (await fs.readdir('survey:readdir', volumesPath(context))).sort();
  const left = await namesIn(context, purgedPath(context));
  const strays = [...entries.filter((name) => !isDomainUuid(name)).map((name) => `volumes/${name}`)];
  return {
    share,
    hosts,
    volumes: entries.filter(isDomainUuid),
    strays: [...strays, ...left.sort().map((name) => `purged/${name}`)],
  };
}

async function presenceOf(
  heartbeat: Heartbeat,
  host: HostName,
  nowNs: bigint,
  hostExpiryMs: number,
): Promise<HostPresence> {
  const seen = await heartbeat.presenceOf(host, nowNs);
  const alive = seen !== undefined && seen.ageMs < hostExpiryMs;
  return { host, heartbeatAgeMs: seen?.ageMs, alive, version: seen?.version };
}

/** @throws MirrorError `NO_SUCH_DOMAIN` */
export async function summarise(context: ShareContext, uuid: DomainUuid): Promise<VolumeSummary> {
  const { diverged } = volumePaths(context, uuid);
  const counts = {
    uuid,
    pins: (await pinNames(context, uuid)).length,
    diverged: (await namesIn(context, diverged)).length,
  };
  const nothing = { name: '', holder: undefined, tombstoned: false, head: undefined, generations: 0 };
  try {
    const log = await readLog(context, uuid, 'all');
    if (!log) return { ...counts, ...nothing };
    const head = await readHeadOrKeyless(context, uuid, log);
    return {
      ...counts,
      ...nothing,
      holder: log.holder,
      tombstoned: log.tombstone !== undefined,
      generations: log.published.length,
      diverged: counts.diverged + log.diverged.length,
      ...(head.kind === 'whole' && {
        name: head.generation.manifest.name,
        head: head.generation.manifest,
      }),
      ...(head.kind === 'damaged' && { problem: head.error }),
      ...(head.kind === 'unopened' && { problem: head.error, head: headByName(head.name) }),
    };
  } catch (error) {
    if (!(error instanceof MirrorError) || !PROBLEMS.has(error.code)) throw error;
    return { ...counts, ...nothing, problem: asMirrorError(error).toRecord() };
  }
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

const PROBLEMS: ReadonlySet<string> = new Set(['VOLUME_DAMAGED', 'SHARE_VERSION']);

/** None when there is no such directory. */
async function namesIn({ fs }: ShareContext, path: string): Promise<string[]> {
  try {
    return (await fs.readdir('survey:readdir', path)).filter((name) => !name.startsWith(TEMPORARY_PREFIX));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
