/**
 * situation: everything that the restore plan wants to know about a domain, gathered from share, disk and journal.
 */
import type { JournalRecord } from '../../host/journal-record.js';
import { asMirrorError, type ErrorCode, type MirrorError } from '../../model/errors.js';
import type { CarriedState } from '../../bundle/metadata-element.js';
import type { RunClaim } from '../../model/run-claim.js';
import { standingOf } from '../../model/arrival.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { LocalStatePolicy, RestoreFacts, SharePresence, VolumeFacts } from '../../model/restore-plan.js';
import { stateFaultOf } from '../../model/state-fault.js';
import { hasAbandonedEpoch } from '../../model/volume-log.js';
import type { Inspection, VolumeReading } from '../../volume/share-store.js';
import type { Capture, StateFile } from '../../model/capture.js';
import { isPartMissing, partsOf, withKnownParts, withPlacedParts } from '../../model/parts.js';
import type { AgentContext } from '../agent-context.js';
import { readCarried, type CarriedReading } from './carried-state.js';
import { othersClaimed } from './head-relation.js';
import { localFacts, withFormat } from './local-facts.js';
import type { DomainPlace } from '../domain-place.js';
import { ofAnotherShare } from '../share/remember-share.js';

/** What a start is asked with, as far as it bears on the decision. */
export interface AskedOfAStart {
  /** A migration of the domain to this host was announced. Whether this start is that migration is decided on evidence. */
  readonly incoming: boolean;
  /** The claim that the domain's definition carries: the one of its run on the host that it comes from. */
  readonly runClaim?: RunClaim | undefined;
  /** The domain's state in its own definition: of use where there is no other. */
  readonly carried?: CarriedState | undefined;
  /** Who is right where somebody else put a state in place, as the domain's definition says. @default the configuration's */
  readonly localState?: LocalStatePolicy | undefined;
}

export interface Situation {
  readonly uuid: DomainUuid;
  readonly facts: RestoreFacts;
  readonly record: JournalRecord | undefined;
  readonly local: Capture | undefined;
  /** The domain's NVRAM is missing on this host: in `local` stands the head's, which is still to be written. */
  readonly nvramMissing: boolean;
  /** What is wrong with the local state, when it is invalid. */
  readonly localError: MirrorError | undefined;
  readonly carried: CarriedReading;
  readonly shareId: string | undefined;
  readonly volume: VolumeReading | undefined;
  /** Why the share is not verified. */
  readonly shareError: MirrorError | undefined;
}

/** What makes a share's absence a matter of time; anything else about it is reported as it is. */
const UNREACHABLE: ReadonlySet<ErrorCode> = new Set([
  'SHARE_UNAVAILABLE',
  'SHARE_TIMEOUT',
  'OUTCOME_UNKNOWN',
]);

/** What keeps the local state from being read at all, for now or for good. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['STATE_UNSTABLE', 'HOST_IO']);

export async function gatherSituation(
  context: AgentContext,
  place: DomainPlace,
  asked?: AskedOfAStart,
): Promise<Situation> {
  const { uuid } = place;
  const record = await context.journal.read(uuid);
  const mayHaveArrived = asked?.incoming ?? (record !== undefined && record.arrival !== null);
  const share = await lookAtShare(context, uuid, record, mayHaveArrived);
  const disk = await lookAtDisk(context, place);
  const volume = share.inspection?.volume;
  const known = disk.capture && withKnownParts(disk.capture, headParts({ volume }));
  const nvramMissing = known !== undefined && isPartMissing(known);
  const local = { error: disk.error, capture: known && nvramMissing ? withPlacedParts(known) : known };
  // Where there is another state its own has no say, and is not worth the work.
  const isLast = disk.capture === undefined && share.inspection && !volume?.log.head;
  const carried = await readCarried(uuid, isLast ? asked?.carried : undefined);
  const facts: RestoreFacts = {
    share: share.presence,
    volume: await withFormat(context, volumeFacts(volume, local.capture), volume),
    tombstoned: volume?.log.tombstone !== undefined,
    holder: holderFacts(volume),
    claimedByAnother: volume !== undefined && othersClaimed(context, volume, record),
    local: await localFacts(context, place, { ...local, record, volume }),
    journal: record && journalFacts(record, context.bootId),
    ...(await spoolFacts(context, uuid, local.capture, volume, record)),
    carried: carried.kind,
    announced: announcement(context, volume, asked),
    policy: {
      ...context.config.start,
      localState: asked?.localState ?? context.config.start.localState,
    },
  };
  return {
    uuid,
    facts,
    record,
    local: local.capture,
    nvramMissing,
    localError: local.error,
    carried,
    shareId: share.inspection?.share.id,
    volume,
    shareError: share.error,
  };
}

function announcement(
  { identity }: AgentContext,
  volume: VolumeReading | undefined,
  asked: AskedOfAStart | undefined,
): RestoreFacts['announced'] {
  if (!asked?.incoming) return 'no';
  const { runClaim } = asked;
  if (!volume || !runClaim) return 'yes';
  const standing = standingOf(volume.log, identity, { slot: runClaim.epoch, ...runClaim });
  return standing === 'open' ? 'by-holder' : 'yes';
}

/** @param wholeLog what arrived is judged by all that the log says of where it comes from */
async function lookAtShare(
  context: AgentContext,
  uuid: DomainUuid,
  record: JournalRecord | undefined,
  wholeLog: boolean,
): Promise<{ presence: SharePresence; inspection?: Inspection; error?: MirrorError }> {
  const known = record && record.epoch > 0 ? record.epoch : Number.MAX_SAFE_INTEGER;
  const since = wholeLog ? 0 : known;
  const { hostExpiryMs } = context.config.timing;
  const shareId = (await context.knownShare.read()) ?? record?.shareId ?? undefined;
  try {
    const inspection = await context.share.inspect({ uuid, withHead: true, since, hostExpiryMs, shareId });
    const stray = record && ofAnotherShare(record, inspection.share.id);
    return stray ? { presence: 'wrong', error: stray } : { presence: 'verified', inspection };
  } catch (error) {
    const cause = asMirrorError(error);
    if (cause.code === 'SHARE_NOT_INITIALIZED') return { presence: 'not-initialized', error: cause };
    if (cause.code === 'SHARE_WRONG') return { presence: 'wrong', error: cause };
    if (UNREACHABLE.has(cause.code)) return { presence: 'unreachable', error: cause };
    throw error;
  }
}

async function lookAtDisk(
  { files }: AgentContext,
  place: DomainPlace,
): Promise<{ capture: Capture | undefined; error: MirrorError | undefined }> {
  try {
    return { capture: await files.read(place, true), error: undefined };
  } catch (error) {
    const cause = asMirrorError(error);
    if (cause.code === 'NO_STATE') return { capture: undefined, error: undefined };
    const isFaulty = stateFaultOf(cause) !== undefined || UNREADABLE.has(cause.code);
    if (isFaulty) return { capture: undefined, error: cause };
    throw error;
  }
}

/** What the spool has that the volume has not: a capture that was published may have been left there. */
async function spoolFacts(
  { spool, bootId }: AgentContext,
  uuid: DomainUuid,
  local: Capture | undefined,
  volume: VolumeReading | undefined,
  record: JournalRecord | undefined,
): Promise<Pick<RestoreFacts, 'spooled' | 'localIsSpooled'>> {
  const { newest } = await spool.peek(uuid);
  if (!newest) return { spooled: false };
  const { capture, manifest } = newest;
  const { digest } = capture;
  const published = volume?.log.published ?? [];
  return {
    spooled: !published.some(({ generation }) => digest.startsWith(generation.digestPrefix)),
    // What was captured after a reboot, and not judged since, may be the file that the power loss took back.
    localIsSpooled: digest === local?.digest && (record?.bootId === bootId || manifest.bootId !== bootId),
  };
}

/** What the head holds beside the TPM. */
export function headParts({ volume }: Pick<Situation, 'volume'>): readonly StateFile[] {
  return partsOf(volume?.head.kind === 'whole' ? volume.head.generation.capture : undefined);
}

function volumeFacts(volume: VolumeReading | undefined, local: Capture | undefined): VolumeFacts {
  if (!volume) return { kind: 'absent' };
  const { head } = volume;
  switch (head.kind) {
    case 'none':
      return { kind: 'empty', abandoned: hasAbandonedEpoch(volume.log) };
    case 'damaged':
      return {
        kind: 'damaged',
        slot: head.name.slot,
        localIsHead: local?.digest.startsWith(head.name.digestPrefix) ?? false,
      };
    case 'whole':
      return { kind: 'whole', slot: head.generation.name.slot, identity: head.generation.capture.identity };
  }
}

function holderFacts(volume: VolumeReading | undefined): RestoreFacts['holder'] {
  const holder = volume?.holder;
  if (!holder) return 'none';
  if (holder.self) return 'self';
  return holder.alive ? 'other-alive' : 'other-expired';
}

function isRunning({ phase }: JournalRecord): boolean {
  return phase === 'running' || phase === 'arrived';
}

function journalFacts(record: JournalRecord, bootId: string): RestoreFacts['journal'] {
  return {
    slot: record.slot,
    digest: record.digest ?? undefined,
    identity: record.identity ?? undefined,
    ran: isRunning(record) || record.phase === 'finishing',
    fenced: record.fenced !== null,
    neverHeld: record.fenced !== null && record.epoch === 0 && record.slot === 0,
    handedOver: record.phase === 'handed-over' || record.phase === 'away',
    rebooted: record.bootId !== bootId,
    unstored: record.unstored?.fault,
  };
}
