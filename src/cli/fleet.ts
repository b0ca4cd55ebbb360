/**
 * fleet: every host and volume of a share, from the share alone: no agent is asked, and none has to run.
 */
import type { Attention } from '../agent/attention.js';
import { strangerNotice } from '../agent/strangers.js';
import type { Config } from '../model/config.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import { isSameHost } from '../model/host-identity.js';
import { quoted, type DomainUuid } from '../model/identifiers.js';
import type { HostPresence, ShareService, VolumeSummary } from '../volume/share-administration.js';
import type { CliEnvironment } from './environment.js';
import { counted, shortDuration } from './text-table.js';

/**
 * `held`: by a host that is alive · `orphaned`: by one that is not · `released`: free to start anywhere · `forgotten`: closed until it is
 * revived · `empty`: nothing was ever published · `damaged`: its log or its head cannot be read
 */
export type VolumeState = 'held' | 'orphaned' | 'released' | 'forgotten' | 'empty' | 'damaged';

export interface FleetHost extends Pick<HostPresence, 'host' | 'alive' | 'fenced' | 'problem'> {
  readonly heartbeatAgeMs: number | null;
  /** How far its heartbeat lies in the future of the server's clock, ms; 0 for not at all. */
  readonly aheadMs?: number;
  /** Of its agent; `null` when it does not tell. */
  readonly version: string | null;
  /** Volumes that it holds. */
  readonly holds: number;
}

export interface FleetVolume {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly state: VolumeState;
  readonly holder: {
    readonly host: string;
    readonly alive: boolean;
    readonly heartbeatAgeMs: number | null;
  } | null;
  readonly head: {
    readonly generation: number;
    readonly host: string;
    readonly time: string;
    /** Since then, by this host's clock; `null` where the time cannot be read for want of a key. */
    readonly ageMs: number | null;
    readonly reason: string;
  } | null;
  readonly generations: number;
  readonly diverged: number;
  readonly snapshots: number;
  readonly attention: readonly Attention[];
}

export interface Fleet {
  /** Of this program. */
  readonly version: string;
  readonly share: { readonly path: string; readonly id: string };
  readonly hosts: readonly FleetHost[];
  /** Those in trouble first. */
  readonly volumes: readonly FleetVolume[];
  /** Paths on the share that are no volume. */
  readonly strays: readonly string[];
}

/** Volumes read at a time: a fleet is looked at beside the work of its agents. */
const CONCURRENCY = 4;
const TROUBLE: Readonly<Record<VolumeState, number>> = {
  damaged: 5,
  orphaned: 4,
  held: 1,
  released: 1,
  empty: 1,
  forgotten: 0,
};

export async function surveyFleet(
  { clock, version }: Pick<CliEnvironment, 'clock' | 'version'>,
  share: ShareService,
  config: Config,
): Promise<Fleet> {
  const { hostExpiryMs } = config.timing;
  const survey = await share.survey({ hostExpiryMs, shareId: undefined });
  const summaries = await summariseAll(share, survey.volumes);
  const hosts = new Map(survey.hosts.map((host) => [host.host as string, host]));
  return {
    version,
    share: { path: config.share, id: survey.share.id },
    hosts: survey.hosts.map((host) => ({
      host: host.host,
      alive: host.alive,
      fenced: host.fenced,
      heartbeatAgeMs: host.heartbeatAgeMs ?? null,
      aheadMs: host.aheadMs,
      version: host.version ?? null,
      ...(host.problem && { problem: host.problem }),
      holds: summaries.filter(({ holder }) => holder && isSameHost(holder, host)).length,
    })),
    volumes: summaries.map((summary) => toVolume(summary, hosts, clock.nowMs())).sort(byTrouble),
    strays: survey.strays,
  };
}

/**
 * The domain of that name anywhere on the share.
 *
 * @throws MirrorError `NO_SUCH_DOMAIN` when there is none, or more than one
 */
export async function findByName(share: ShareService, config: Config, name: string): Promise<DomainUuid> {
  const { hostExpiryMs } = config.timing;
  const { volumes } = await share.survey({ hostExpiryMs, shareId: undefined });
  const found = (await summariseAll(share, volumes)).filter(
    (summary) => name !== '' && summary.name === name,
  );
  const [only, ...others] = found;
  if (only && others.length === 0) return only.uuid;
  const which = found.map(({ uuid }) => uuid).join(', ');
  throw new MirrorError(
    'NO_SUCH_DOMAIN',
    only
      ? `${quoted(name)} is the name of several domains: ${which}`
      : `no domain of the share has the name ${quoted(name)}`,
    { next: 'give its UUID; `swtpm-mirror status --all-hosts` lists every volume' },
  );
}

async function summariseAll(share: ShareService, uuids: readonly DomainUuid[]): Promise<VolumeSummary[]> {
  const summaries: VolumeSummary[] = [];
  for (let at = 0; at < uuids.length; at += CONCURRENCY) {
    const batch = uuids.slice(at, at + CONCURRENCY);
    summaries.push(...(await Promise.all(batch.map((uuid) => summaryOf(share, uuid)))));
  }
  return summaries;
}

/** One volume that cannot be read hides no other; a share that is away is told of each. */
async function summaryOf(share: ShareService, uuid: DomainUuid): Promise<VolumeSummary> {
  try {
    return await share.summarise({ uuid });
  } catch (error) {
    const counts = { generations: 0, diverged: 0, pins: 0 };
    const nothing = { uuid, name: '', holder: undefined, tombstoned: false, head: undefined, ...counts };
    return { ...nothing, problem: asMirrorError(error).toRecord() };
  }
}

function toVolume(
  summary: VolumeSummary,
  hosts: ReadonlyMap<string, HostPresence>,
  nowMs: number,
): FleetVolume {
  const { uuid, name, head, generations, diverged, pins } = summary;
  const presence = summary.holder && hosts.get(summary.holder.host);
  const holder = summary.holder
    ? {
        host: summary.holder.host,
        alive: presence?.alive ?? false,
        heartbeatAgeMs: presence?.heartbeatAgeMs ?? null,
      }
    : null;
  const state = stateOf(summary, holder);
  return {
    uuid,
    name,
    state,
    holder,
    head: head ? toHead(head, nowMs) : null,
    generations,
    diverged,
    snapshots: pins,
    attention: attentionOf(summary, state, holder),
  };
}

function toHead(
  { slot, host, time, reason }: NonNullable<VolumeSummary['head']>,
  nowMs: number,
): NonNullable<FleetVolume['head']> {
  const ageMs = time === '' ? null : Math.max(nowMs - Date.parse(time), 0);
  return { generation: slot, host, time, ageMs, reason };
}

/** What it is that this host cannot open says nothing of the volume. */
const KEYLESS = 'KEY_MISSING';

function stateOf(
  { problem, tombstoned, generations }: VolumeSummary,
  holder: FleetVolume['holder'],
): VolumeState {
  if (problem && problem.code !== KEYLESS) return 'damaged';
  if (tombstoned) return 'forgotten';
  if (holder) return holder.alive ? 'held' : 'orphaned';
  return generations === 0 ? 'empty' : 'released';
}

function attentionOf(
  { uuid, problem, diverged, head, strangers = [] }: VolumeSummary,
  state: VolumeState,
  holder: FleetVolume['holder'],
): Attention[] {
  const items: Attention[] = [];
  if (problem && problem.code !== KEYLESS) {
    items.push({ code: problem.code, message: problem.message, next: problem.next });
  }
  if (state === 'orphaned' && holder) {
    const age =
      holder.heartbeatAgeMs === null
        ? 'it has no heartbeat'
        : `last heartbeat ${shortDuration(holder.heartbeatAgeMs)} ago`;
    const back = head ? `goes on from generation ${String(head.slot)}` : 'has no state stored';
    items.push({
      code: 'HELD_ELSEWHERE',
      message: `host ${holder.host} holds it and has expired (${age}); whoever starts it elsewhere ${back}`,
      next: `bring ${holder.host} back if its spool may have newer state; otherwise start the domain on another host`,
    });
  }
  for (const host of strangers) items.push(strangerNotice(uuid, host));
  if (diverged > 0) {
    items.push({
      code: 'FENCED',
      message: `${counted(diverged, 'diverged copy', 'diverged copies')} of states that lost a race`,
      next: `see them with \`swtpm-mirror history --all ${uuid}\``,
    });
  }
  return items;
}

function byTrouble(a: FleetVolume, b: FleetVolume): number {
  return trouble(b) - trouble(a) || a.name.localeCompare(b.name) || a.uuid.localeCompare(b.uuid);
}

function trouble({ state, attention }: FleetVolume): number {
  return TROUBLE[state] + (attention.length > 0 ? 2 : 0);
}
