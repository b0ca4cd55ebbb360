/**
 * default-share: without a share in the configuration, a directory of this host serves as one, for this host alone.
 */
import { asMirrorError } from '../../model/errors.js';
import type { AgentContext } from '../agent-context.js';

type DefaultShareContext = Pick<AgentContext, 'config' | 'share' | 'knownShare' | 'log'>;

/** Makes it a share, once: never again after this host has known one. */
export async function initialiseDefaultShare({
  config,
  share,
  knownShare,
  log,
}: DefaultShareContext): Promise<void> {
  if (!config.shareIsDefault || (await knownShare.read()) !== undefined) return;
  try {
    await share.identify({});
  } catch (error) {
    if (asMirrorError(error).code !== 'SHARE_NOT_INITIALIZED') throw error;
    const { id } = await share.initialise({});
    log.warn(
      { share: id, path: config.share },
      'no share is configured: a directory of this host serves as one, for this host alone',
    );
  }
}
