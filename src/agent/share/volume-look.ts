/**
 * volume-look: who holds a domain's volume and how far its log goes, without reading any generation.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { VolumeReading } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';

export interface VolumeLook {
  /** The share that this host knows. */
  readonly shareId: string | undefined;
  /** `undefined`: there is none. */
  readonly volume: VolumeReading | undefined;
}

export async function lookAtVolume(
  { share, knownShare, config }: Pick<AgentContext, 'share' | 'knownShare' | 'config'>,
  uuid: DomainUuid,
): Promise<VolumeLook> {
  const { hostExpiryMs } = config.timing;
  const shareId = await knownShare.read();
  const since = Number.MAX_SAFE_INTEGER;
  const { volume } = await share.inspect({ uuid, withHead: false, since, hostExpiryMs, shareId });
  return { shareId, volume };
}
