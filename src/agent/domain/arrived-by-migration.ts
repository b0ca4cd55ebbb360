/**
 * arrived-by-migration: whether a domain that came here has the volume's newest state. Its source says so by the reason of its release; a release by the
 * source of another migration must not be taken for that.
 */
import type { Arrival } from '../../host/journal-record.js';
import { asMirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import type { DomainUuid, HostName } from '../../model/identifiers.js';
import { HANDED_OVER, type ClaimEntry, type LogEntry } from '../../model/log-entry.js';
import type { VolumeLog } from '../../model/volume-log.js';
import type { AgentContext } from '../agent-context.js';
import type { Situation } from '../start/situation.js';
import { lookAtVolume } from '../share/volume-look.js';

/** Claims by which a holder goes on with what it has. */
const SAME_RUN: ReadonlySet<string> = new Set(['recover', 'compact']);

/** `untold`: the volume's holder is silent, and need not be the source. It may say so yet. */
export type Arrived = 'yes' | 'no' | 'untold';

type Source = Pick<ClaimEntry, 'slot' | 'host'>;

/**
 * Whether what arrived is what the volume's last holder had. A holder whose host fell silent before it could say so is believed if it held the volume when
 * the migration began, and if nobody was ever replaced as the holder: the guest of such a host may have run on, and be the one that came.
 *
 * @throws MirrorError of the share
 */
export async function cameDirectly(
  context: AgentContext,
  { uuid, arrival }: { readonly uuid: DomainUuid; readonly arrival: Arrival | undefined },
  { volume, facts }: Situation,
): Promise<Arrived> {
  if (!volume || volume.head.kind === 'none') return 'yes';
  const { host } = context.config;
  const known = await whenAnnounced(context, uuid, arrival);
  if (!isOfOneRun(volume.log, sourceOf(known, volume.log, host), host)) return 'no';
  if (facts.holder === 'other-expired') {
    return known.source !== null && (await isUncontested(context, uuid, arrival)) ? 'yes' : 'untold';
  }
  return isHandedOver(volume.log, host) ? 'yes' : 'no';
}

/**
 * Whether the volume's holder, which is alive, had it after the domain came here: it was started there, and will not be handed over any more. A source that
 * is not known may be this holder.
 *
 * @throws MirrorError of the share
 */
export async function wentOnElsewhere(
  context: AgentContext,
  { uuid, arrival }: { readonly uuid: DomainUuid; readonly arrival: Arrival | undefined },
  { volume }: Situation,
): Promise<boolean> {
  if (!volume) return false;
  const { host } = context.config;
  const source = sourceOf(await whenAnnounced(context, uuid, arrival), volume.log, host);
  return source !== undefined && !isOfOneRun(volume.log, source, host);
}

/** Whether the volume's last holder released it because its domain had migrated here. `false` when the share cannot say. */
export async function wasHandedOver(
  context: AgentContext,
  uuid: DomainUuid,
  arrival: Arrival | undefined,
): Promise<boolean> {
  try {
    const { volume } = await lookAtVolume(context, uuid);
    if (!volume || !isHandedOver(volume.log, context.config.host)) return false;
    const { logTop } = await whenAnnounced(context, uuid, arrival);
    return isHandedOver(volume.log, context.config.host, logTop ?? 0);
  } catch (error) {
    const { code, message } = asMirrorError(error);
    context.log.warn({ uuid, code }, `cannot see whether ${uuid} has arrived here: ${message}`);
    return false;
  }
}

/**
 * What the log said when the migration was announced. A share that was away then is asked now; nothing is known when this host was restarted since, whose
 * clock began anew.
 */
async function whenAnnounced(
  { share, bootId }: AgentContext,
  uuid: DomainUuid,
  arrival: Arrival | undefined,
): Promise<Pick<Arrival, 'source' | 'logTop'>> {
  if (!arrival) return { source: null, logTop: null };
  if (arrival.logTop !== null || arrival.bootId !== bootId) return arrival;
  const { top, lastClaim } = await share.recall({ uuid, atMs: arrival.atMs });
  return { source: lastClaim ?? null, logTop: top };
}

/** Whether no former holder's guest may run on, and be what came here instead of the holder's. */
async function isUncontested(
  { share }: AgentContext,
  uuid: DomainUuid,
  arrival: Arrival | undefined,
): Promise<boolean> {
  const { contested } = await share.recall({ uuid, atMs: arrival?.atMs ?? 0 });
  return !contested;
}

/** Of a domain whose volume nobody had claimed when it set out, the first of another host; `undefined` when nobody knows. */
function sourceOf(
  { source, logTop }: Pick<Arrival, 'source' | 'logTop'>,
  { entries }: VolumeLog,
  host: HostName,
): Source | undefined {
  if (source || logTop !== 0) return source ?? undefined;
  return entries.filter(isClaim).find((entry) => entry.host !== host);
}

/** Whether nobody but the source and this host has claimed since, and the former not for another run of the domain. */
function isOfOneRun({ entries }: VolumeLog, source: Source | undefined, self: HostName): boolean {
  const later = entries.filter(isClaim).filter((entry) => entry.slot > (source?.slot ?? 0));
  return later.every(
    (entry) => entry.host === self || (entry.host === source?.host && SAME_RUN.has(entry.reason)),
  );
}

/** A claim of `host` itself may follow: one whose answer was lost. */
function isHandedOver({ entries }: VolumeLog, host: HostName, since: Slot = 0): boolean {
  const last = entries.findLast((entry) => entry.kind !== 'claim' || entry.host !== host);
  const isRelease = last?.kind === 'release' && last.reason === HANDED_OVER;
  return isRelease && last.host !== host && last.slot > since;
}

function isClaim(entry: LogEntry): entry is ClaimEntry {
  return entry.kind === 'claim';
}
