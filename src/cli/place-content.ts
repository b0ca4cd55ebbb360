/**
 * place-content: put a content at the head of a volume that nobody uses: `rollback`, `snapshot revert`, `import`, `clone`.
 *
 *   P1 look          the domain has stopped, everywhere
 *   P2 keep          the head before is pinned, so that retention cannot take what the operator may want back
 *   P3 claim         on top of the log of P1: what came into use since makes this fail
 *   P4 publish       the content as a new generation; the log only grows
 *   P5 release       the domain can start on any host
 *
 * I1 A failure before P4 leaves the head as it was. One after it leaves the new head, held by this host, and says so. A Ctrl-C waits from P3 to P5.
 */
import type { GenerationReason } from '../bundle/manifest.js';
import { publishNote } from '../agent/share/publish-note.js';
import type { Capture } from '../model/capture.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
import { parseSnapshotName, type SnapshotName } from '../model/identifiers.js';
import type { OpenContext } from './environment.js';
import { expectClaimed, expectNothingSpooled, movedMeanwhile, type IdleVolume } from './idle-volume.js';

export interface Placement {
  readonly capture: Capture;
  readonly domainName: string;
  readonly reason: GenerationReason;
}

export interface Placed {
  /** The new head. */
  readonly generation: Slot;
  /** The head before; 0 when there was none. */
  readonly before: Slot;
  /** The snapshot that keeps it. */
  readonly kept: SnapshotName | undefined;
}

/** The caller holds the domain's lock, and made sure with `expectIdle` that nobody uses the volume. */
export async function placeContent(
  opened: OpenContext,
  { volume, shareId }: IdleVolume,
  placement: Placement,
): Promise<Placed> {
  const { context } = opened;
  const { uuid } = placement.capture;
  const before = volume?.log.head?.slot ?? 0;
  await expectNothingSpooled(context, uuid);
  const kept = before > 0 ? await keepHead(opened, placement, before) : undefined;
  return await opened.uninterrupted(async () => {
    const { epoch } = expectClaimed(
      uuid,
      await context.share.claim({
        uuid,
        reason: 'operator',
        scope: 'free',
        hostExpiryMs: context.config.timing.hostExpiryMs,
        revive: false,
        shareId,
        onTopOf: volume?.log.top ?? 0,
      }),
    );
    const generation = await publish(opened, placement, epoch, before);
    await noteIdentity(opened, placement.capture);
    await release(opened, placement, epoch, generation + 1);
    return { generation, before, kept };
  });
}

/** @returns `undefined` for a damaged head: its place is what the operator is about to fill */
async function keepHead(
  { administration }: OpenContext,
  { capture: { uuid }, reason }: Placement,
  slot: Slot,
): Promise<SnapshotName | undefined> {
  const name = parseSnapshotName(`before-${reason}-${String(slot)}`);
  try {
    await administration.pin({ uuid, name, slot });
    return name;
  } catch (error) {
    const { code } = asMirrorError(error);
    if (code === 'GENERATION_DAMAGED' || code === 'STATE_INVALID') return undefined;
    throw error;
  }
}

async function publish(
  { context }: OpenContext,
  { capture, domainName, reason }: Placement,
  epoch: Slot,
  parent: Slot,
): Promise<Slot> {
  const { uuid } = capture;
  const slot = epoch + 1;
  const note = publishNote(context, domainName, reason);
  try {
    const outcome = await context.share.publish({ uuid, epoch, slot, parent, capture, note });
    if (outcome.kind === 'committed') return slot;
  } catch (error) {
    await giveBack({ context }, { capture, reason }, epoch, error);
    throw error;
  }
  throw movedMeanwhile(uuid);
}

/**
 * The operator's word that the domain goes on with this TPM, for the next start on this host. Another
 * host that knows the former one asks him again (`resolve --keep head`).
 */
async function noteIdentity(
  { context: { journal } }: Pick<OpenContext, 'context'>,
  { uuid, identity }: Capture,
): Promise<void> {
  const record = await journal.read(uuid);
  if (!record || record.identity === (identity ?? null)) return;
  await journal.write({ ...record, identity: identity ?? null });
}

/** What failed is the news, and a claim that stays is only this host's: the next start here takes it, or `take-over` elsewhere. */
async function giveBack(
  { context }: Pick<OpenContext, 'context'>,
  { capture: { uuid }, reason }: Pick<Placement, 'capture' | 'reason'>,
  epoch: Slot,
  cause: unknown,
): Promise<void> {
  if (asMirrorError(cause).code === 'OUTCOME_UNKNOWN') return;
  const call = { uuid, kind: 'release', epoch, slot: epoch + 1, reason } as const;
  await context.share.closeEpoch(call).catch(() => undefined);
}

async function release(
  { context }: OpenContext,
  { capture: { uuid }, reason }: Placement,
  epoch: Slot,
  slot: Slot,
): Promise<void> {
  try {
    await context.share.closeEpoch({ uuid, kind: 'release', epoch, slot, reason });
  } catch (error) {
    const { code, message } = asMirrorError(error);
    throw new MirrorError(
      code,
      `generation ${String(slot - 1)} of ${uuid} is the head, but this host still holds the volume: ${message}`,
      {
        next: `start the domain on this host, or run \`swtpm-mirror take-over --force ${uuid}\` on the one that shall`,
        cause: error,
      },
    );
  }
}

export function placedJson({ generation, before, kept }: Placed): object {
  return { generation, before, kept: kept ?? null };
}

export function keptText({ before, kept }: Placed): string {
  if (before === 0) return '';
  return kept === undefined
    ? `; generation ${String(before)}, the head before, is damaged`
    : `; generation ${String(before)}, the head before, is kept as snapshot ${kept}`;
}
