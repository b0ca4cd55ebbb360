/**
 * tombstone: mark a volume as forgotten: it keeps its generations, and a start is refused until somebody revives it.
 */
import type { AgentContext } from '../agent/agent-context.js';
import { MirrorError } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
import type { DomainUuid } from '../model/identifiers.js';
import { movedMeanwhile } from './idle-volume.js';

/**
 * Claims the volume and closes it for good. Nothing to do for one that does not exist or is forgotten already.
 *
 * @param onTopOf only if the log still ends at this slot
 * @throws MirrorError `HELD_ELSEWHERE`, `TAKE_OVER_LOST`, `SHARE_*`
 */
export async function buryVolume(
  context: AgentContext,
  uuid: DomainUuid,
  reason: string,
  onTopOf?: Slot,
): Promise<void> {
  const { share, knownShare, config } = context;
  const { hostExpiryMs } = config.timing;
  const shareId = await knownShare.read();
  const since = Number.MAX_SAFE_INTEGER;
  const { volume } = await share.inspect({ uuid, withHead: false, since, hostExpiryMs, shareId });
  if (!volume || volume.log.tombstone) return;
  const claim = { uuid, reason: 'operator', scope: 'free', hostExpiryMs, revive: false, shareId } as const;
  const outcome = await share.claim({ ...claim, ...(onTopOf !== undefined && { onTopOf }) });
  if (outcome.kind === 'tombstoned') return;
  if (outcome.kind === 'moved') throw movedMeanwhile(uuid);
  if (outcome.kind !== 'claimed') {
    throw heldElsewhere(uuid, outcome.kind === 'held' ? outcome.holder.host : '?');
  }
  const { epoch } = outcome;
  const closed = await share.closeEpoch({ uuid, kind: 'tombstone', epoch, slot: epoch + 1, reason });
  if (closed.kind === 'committed') return;
  throw new MirrorError(
    'TAKE_OVER_LOST',
    `host ${closed.by ?? '?'} claimed ${uuid} while this host marked it as forgotten`,
    {
      next: 'see with `swtpm-mirror history --all` who uses it now',
    },
  );
}

function heldElsewhere(uuid: DomainUuid, host: string): MirrorError {
  return new MirrorError(
    'HELD_ELSEWHERE',
    `host ${host} holds the volume of ${uuid}: the domain is in use there`,
    {
      next: `undefine it there; a plain \`virsh undefine\` on this host touches nothing of its volume`,
    },
  );
}
