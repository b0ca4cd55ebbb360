/**
 * status-without-agent: what a host that has no agent just now knows of its domains: its journal, its spool, the files of domains that run, and a look
 * at the share. Nothing is watched or published meanwhile, and the status says so.
 */
import type { AgentContext } from '../agent/agent-context.js';
import { toAttention, type Attention } from '../agent/attention.js';
import { blankRecord } from '../agent/domain/domain-record.js';
import { tpmDead } from '../agent/domain/standing.js';
import { domainPlace } from '../agent/domain-place.js';
import { notStored } from '../agent/start/refusal.js';
import { unprotected } from '../agent/left-out.js';
import { findLeftOut } from '../agent/watch/census.js';
import { ofAnotherShare } from '../agent/share/remember-share.js';
import { isWrongShare, type ShareHealthReport } from '../agent/share/share-health.js';
import { hostStatus, recordStatus, type DomainStatus, type Status } from '../agent/api/status.js';
import type { JournalRecord } from '../host/journal-record.js';
import type { SpoolEntry } from '../host/spool.js';
import { asMirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { VolumeReading } from '../volume/share-store.js';
import { counted } from './text-table.js';

const NANOSECONDS_IN_MS = 1_000_000n;

export async function statusWithoutAgent(context: AgentContext): Promise<Status> {
  const health = await lookAtShare(context, await context.knownShare.read());
  const { records, damaged } = await context.journal.list();
  const spooled = await context.spool.list();
  for (const { uuid, tpm } of records) if (tpm) context.running.know?.(uuid, tpm.directory);
  const running = await context.running.list();
  const leftOut = await findLeftOut(context);
  const domains: DomainStatus[] = [];
  for (const record of records) {
    const entry = spooled.find(({ uuid }) => uuid === record.uuid);
    domains.push(await lookAtDomain(context, health, record, entry, running.has(record.uuid)));
  }
  for (const uuid of running) {
    const isUnknown = records.every((record) => record.uuid !== uuid);
    if (isUnknown) domains.push(await unknownDomain(context, health, uuid));
  }
  const unwatched = running.size > 0 ? [noAgent([...running])] : [];
  const untold = leftOut.filter(({ isAskedFor }) => !isAskedFor).map((one) => toAttention(unprotected(one)));
  const attention = [...damaged.map(toAttention), ...unwatched, ...untold];
  return { ...hostStatus(context, health, [], attention, leftOut), domains };
}

async function lookAtDomain(
  context: AgentContext,
  health: ShareHealthReport,
  record: JournalRecord,
  spooled: SpoolEntry | undefined,
  isRunning: boolean,
): Promise<DomainStatus> {
  const attention: Attention[] = [];
  // One volume that cannot be read hides no other.
  const note = (error: unknown): undefined => {
    attention.push(toAttention(asMirrorError(error)));
  };
  const volume =
    health.state === 'online' ? await lookAtVolumeOf(context, record, health.id).catch(note) : undefined;
  const known = recordStatus(context, record, spooled, volume);
  const status = { ...known, attention: [...attention, ...known.attention] };
  if (!isRunning && !hasFinalStateToCome(record)) return status;
  const isSwtpmGone = !isRunning && isUp(record);
  if (isSwtpmGone) note(tpmDead(record.uuid, await sightOf(context, record.uuid)));
  const isElsewhere = volume?.holder?.self === false;
  const view = { isFinal: !isRunning, isLost: status.state === 'fenced' || isElsewhere };
  const found = await comparison(context, record, status, view).catch((error: unknown) => {
    const isGone = view.isFinal && asMirrorError(error).code === 'NO_STATE';
    // What the stop left is in the spool, and its manager deletes the directory.
    if (isGone && spooled && record.unstored === null) return {};
    note(isGone && record.unstored ? notStored(record.uuid, record.unstored) : error);
    return unreadSince(context, status);
  });
  const state = status.state === 'fenced' || !(isRunning || isSwtpmGone) ? status.state : 'running';
  return { ...status, ...found, state, attention: [...attention, ...known.attention] };
}

/** Of one that runs, or has stopped, and whose state is not known to be stored. */
function hasFinalStateToCome(record: JournalRecord): boolean {
  return isUp(record) || record.phase === 'finishing';
}

function isUp({ phase }: JournalRecord): boolean {
  return phase === 'running' || phase === 'arrived';
}

async function sightOf({ running }: AgentContext, uuid: DomainUuid): Promise<'runs' | 'unknown'> {
  return (await running.guest(uuid)) === 'runs' ? 'runs' : 'unknown';
}

/** Nothing but the state that its volume ends with is known to be stored. */
function unreadSince({ clock }: AgentContext, { pending, headTime }: DomainStatus): Partial<DomainStatus> {
  const lagMs = headTime === null ? 0 : Math.max(clock.nowMs() - Date.parse(headTime), 0);
  const where = pending === 'spooled' ? pending : 'local';
  return { pending: where, behind: 'unread', lagMs: Math.round(lagMs), pendingSince: headTime };
}

/** A domain that runs, and of which this host has no record: it was started without a word to this program. */
async function unknownDomain(
  context: AgentContext,
  health: ShareHealthReport,
  uuid: DomainUuid,
): Promise<DomainStatus> {
  const record = blankRecord(uuid);
  const status = await lookAtDomain(context, health, record, undefined, true);
  return { ...status, state: 'running', behind: status.behind ?? 'unclaimed' };
}

/** @throws MirrorError `SHARE_*`, or what is wrong with the volume */
async function lookAtVolumeOf(
  { share, config }: AgentContext,
  record: JournalRecord,
  shareId: string,
): Promise<VolumeReading | undefined> {
  const error = ofAnotherShare(record, shareId);
  if (error) throw error;
  const { hostExpiryMs } = config.timing;
  const since = Number.MAX_SAFE_INTEGER;
  return (await share.inspect({ uuid: record.uuid, withHead: false, since, hostExpiryMs, shareId })).volume;
}

/** What lies on the disk, against what its volume ends with, and what keeps it from becoming that. */
async function comparison(
  { config, clock, files }: AgentContext,
  { uuid, nvramPath, nvram, live, tpm, holding }: JournalRecord,
  { published, behind }: DomainStatus,
  { isFinal, isLost }: { readonly isFinal: boolean; readonly isLost: boolean },
): Promise<Partial<DomainStatus>> {
  const capture = await files.read(domainPlace(config, { uuid, nvramPath, live, nvram, tpm }), isFinal);
  const isStored = published !== null && capture.digest.startsWith(published);
  if (isStored) return { behind: isLost ? 'fenced' : holding ? behind : 'unclaimed' };
  const changedMs = Math.max(...capture.files.map(({ mtimeNs }) => Number(mtimeNs / NANOSECONDS_IN_MS)));
  const lagMs = Math.max(Math.round(clock.nowMs() - changedMs), 0);
  const pendingSince = new Date(changedMs).toISOString();
  const reason = isLost ? 'fenced' : 'changed';
  return { pending: 'local', pendingChanges: 1, behind: reason, lagMs, pendingSince };
}

async function lookAtShare(
  { share, clock }: AgentContext,
  shareId: string | undefined,
): Promise<ShareHealthReport> {
  try {
    // Not a beat: a host without an agent must not look alive.
    const { id } = await share.identify({});
    const began = clock.monotonicMs();
    await share.identify({});
    const latencyMs = clock.monotonicMs() - began;
    return { state: 'online', id, latencyMs, beatAgeMs: undefined, error: undefined };
  } catch (error) {
    const cause = asMirrorError(error);
    const state = isWrongShare(cause) ? 'wrong' : 'offline';
    return { state, id: shareId ?? '', latencyMs: 0, beatAgeMs: undefined, error: cause };
  }
}

function noAgent(running: readonly DomainUuid[]): Attention {
  const whose = running.length === 1 ? String(running[0]) : counted(running.length, 'running domain');
  return {
    code: 'AGENT_UNREACHABLE',
    message: `no agent runs on this host: changes of ${whose} are not published`,
    next: 'start it with `systemctl start swtpm-mirror`, or `swtpm-mirror agent` in the foreground',
  };
}
