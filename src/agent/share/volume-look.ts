/**
 * volume-look: who holds a domain's volume and how far its log goes, without reading any generation.
 */
import type { Slot } from '../../model/generation-name.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';

export interface VolumeLook {
  /** The share that this host knows. */
  readonly shareId: string | undefined;
  /** `undefined`: there is none. */
  readonly volume: VolumeReading | undefined;
}

/**
 * Whether a claim of this host is still the last word of its volume: one listing, and nothing written.
 *
 * @param next the first slot that this host has not written under its claim
 */
export async function claimStands(
  context: Pick<AgentContext, 'share' | 'knownShare' | 'config'>,
  uuid: DomainUuid,
  { epoch, next }: { readonly epoch: Slot; readonly next: Slot },
): Promise<boolean> {
  const { volume } = await lookAtVolume(context, uuid);
  return volume?.holder?.self === true && volume.log.epoch === epoch && volume.log.top < next;
}

export async function lookAtVolume(
  context: Pick<AgentContext, 'share' | 'knownShare' | 'config'>,
  uuid: DomainUuid,
): Promise<VolumeLook> {
  return await readVolume(context, uuid, Number.MAX_SAFE_INTEGER);
}

/** The same, with all that pruning has left of its log. */
export async function readWholeLog(
  context: Pick<AgentContext, 'share' | 'knownShare' | 'config'>,
  uuid: DomainUuid,
): Promise<VolumeLook> {
  return await readVolume(context, uuid, 0);
}

/** @param since the log is read down to this slot at least */
async function readVolume(
  { share, knownShare, config }: Pick<AgentContext, 'share' | 'knownShare' | 'config'>,
  uuid: DomainUuid,
  since: Slot,
): Promise<VolumeLook> {
  const { hostExpiryMs } = config.timing;
  const shareId = await knownShare.read();
  const { volume } = await share.inspect({ uuid, withHead: false, since, hostExpiryMs, shareId });
  return { shareId, volume };
}
