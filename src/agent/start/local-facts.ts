/**
 * local-facts: what the restore plan wants to know of the TPM state on this host's disk: how it stands to
 * the head, who left it there, and whether this host's swtpm can read it.
 */
import { isAtRest, type JournalRecord } from '../../host/journal-record.js';
import type { Capture } from '../../model/capture.js';
import { errnoOf, type MirrorError } from '../../model/errors.js';
import { tpmDigest } from '../../model/hash.js';
import { originOf } from '../../model/local-origin.js';
import type { LocalRelation } from '../../model/local-relation.js';
import type { LocalFacts, VolumeFacts } from '../../model/restore-plan.js';
import { stateFaultOf } from '../../model/state-fault.js';
import { isReadEverywhere, isTooNewFor, tpmFormat } from '../../model/tpm-format.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainPlace } from '../domain-place.js';
import { isHeadFromOwnDisk, othersClaimed, relationToHead, unjudgedSinceNs } from './head-relation.js';

/** What belongs to a stop may change a file's ctime after the journal was written: libvirt takes its labels back. */
const AFTER_STOP_NS = 10_000_000_000n;

export interface LocalReading {
  readonly capture: Capture | undefined;
  /** Why there is no capture although there is something. */
  readonly error: MirrorError | undefined;
  readonly record: JournalRecord | undefined;
  readonly volume: VolumeReading | undefined;
}

export async function localFacts(
  context: AgentContext,
  place: DomainPlace,
  { capture, error, record, volume }: LocalReading,
): Promise<LocalFacts> {
  const changedAtNs = await changedAt(context, place);
  const isFromBeforeBoot = isBeforeBoot(context, changedAtNs);
  if (!capture) {
    if (!error) return { kind: 'absent' };
    return { kind: 'faulty', fault: stateFaultOf(error) ?? 'unreadable', isFromBeforeBoot };
  }
  const { digest, identity } = capture;
  const relation = volume
    ? relationToHead(context, capture, volume, unjudgedSinceNs(context, record))
    : 'unknown';
  const known = { kind: 'valid', digest, identity, relation } as const;
  const isTooNew = await isTooNewHere(context, capture);
  if (tpmIsHeads(capture, volume)) return { ...known, tpmIsHeads: true, isTooNew };
  const changedSince = await changedSinceRun(context, changedAtNs, record);
  const local = { context, capture, record, volume, relation, changedSince, changedAtNs };
  return { ...known, changedSince, origin: origin(local), hasNews: hasNews(local), isTooNew };
}

/** Whether the local state was last changed before this boot: a power loss may have left it as it is. */
export async function wasLeftByFormerBoot(context: AgentContext, place: DomainPlace): Promise<boolean> {
  return isBeforeBoot(context, await changedAt(context, place));
}

function isBeforeBoot(context: AgentContext, changedAtNs: bigint | undefined): boolean {
  return changedAtNs !== undefined && changedAtNs < bootedAtNs(context);
}

/** Adds whether this host's swtpm can read the head. */
export async function withFormat(
  context: AgentContext,
  facts: VolumeFacts,
  volume: VolumeReading | undefined,
): Promise<VolumeFacts> {
  if (facts.kind !== 'whole' || volume?.head.kind !== 'whole') return facts;
  return { ...facts, isTooNew: await isTooNewHere(context, volume.head.generation.capture) };
}

interface ValidLocal {
  readonly context: AgentContext;
  readonly capture: Capture;
  readonly record: JournalRecord | undefined;
  readonly volume: VolumeReading | undefined;
  readonly relation: LocalRelation;
  readonly changedSince: boolean | undefined;
  readonly changedAtNs: bigint | undefined;
}

function origin(local: ValidLocal): ReturnType<typeof originOf> {
  const { context, capture, record, changedSince, changedAtNs } = local;
  if (!record) return 'unknown';
  return originOf({
    localTpm: tpmDigest(capture.files),
    finalTpm: record.finalTpm ?? undefined,
    isJournalled: record.digest === capture.digest && changedSince !== true,
    isFromBeforeBoot:
      changedAtNs === undefined ? record.bootId !== context.bootId : changedAtNs < bootedAtNs(context),
    changedSince,
    isBehindOwnHead: isBehindOwnHead(local),
  });
}

/** The head was published from this very disk in this boot, and this was published before it. */
function isBehindOwnHead({ context, volume, record, relation }: ValidLocal): boolean {
  if (relation !== 'older' || volume?.head.kind !== 'whole') return false;
  const { manifest } = volume.head.generation;
  const isOfThisBoot = manifest.bootId !== '' && manifest.bootId === context.bootId;
  const isOwn = isHeadFromOwnDisk(context.identity, volume) && !othersClaimed(context, volume, record);
  return isOfThisBoot && isOwn;
}

function tpmIsHeads({ files }: Capture, volume: VolumeReading | undefined): boolean {
  if (volume?.head.kind !== 'whole') return false;
  return tpmDigest(files) === tpmDigest(volume.head.generation.capture.files);
}

/** Older by its TPM, and its NVRAM is not the head's and was never published with it. */
function hasNews({ capture, volume, relation }: ValidLocal): boolean {
  if (relation !== 'older' || volume?.head.kind !== 'whole') return false;
  const isStored = volume.log.published.some(({ generation }) =>
    capture.digest.startsWith(generation.digestPrefix),
  );
  const stored = volume.head.generation.capture.files;
  const hasOwn = capture.files.some(
    ({ role, sha256, stale }) =>
      role === 'nvram' &&
      stale === undefined &&
      !stored.some((file) => file.role === role && file.sha256 === sha256),
  );
  return hasOwn && !isStored;
}

/** `undefined` where it cannot be told. */
async function changedAt({ files }: AgentContext, place: DomainPlace): Promise<bigint | undefined> {
  try {
    return await files.changedAtNs(place);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

function bootedAtNs({ bootedAtMs }: AgentContext): bigint {
  return BigInt(Math.floor(bootedAtMs)) * 1_000_000n;
}

/**
 * Whether the TPM's files changed after the last run here had ended, or in a boot of the host in which no
 * start of this host's was allowed.
 */
async function changedSinceRun(
  context: AgentContext,
  changedAtNs: bigint | undefined,
  record: JournalRecord | undefined,
): Promise<boolean | undefined> {
  if (!record || changedAtNs === undefined) return undefined;
  const isUnjudged = record.bootId !== context.bootId;
  if (isUnjudged && changedAtNs >= bootedAtNs(context)) return true;
  if (!isAtRest(record)) return isUnjudged ? false : undefined;
  const writtenAtNs = await context.journal.writtenAtNs(record.uuid);
  return writtenAtNs === undefined ? undefined : changedAtNs > writtenAtNs + AFTER_STOP_NS;
}

async function isTooNewHere({ libtpms }: AgentContext, capture: Capture): Promise<boolean> {
  const format = tpmFormat(capture);
  if (!format || isReadEverywhere(format)) return false;
  const version = await libtpms?.();
  return version !== undefined && isTooNewFor(format, version);
}
