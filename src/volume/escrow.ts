/**
 * escrow: the recipient that a share demands of everything that is written to it, so that its owner can open every VM's state, whichever
 * hosts and keys are left.
 *
 * The marker names it, and each host's own configuration must name it too. The share alone could be given another recipient by whoever can
 * write to it; the configuration alone could be forgotten on one host. So a host that does not know it writes nothing, and asks nobody but its operator.
 */
import { MirrorError } from '../model/errors.js';
import type { ShareIdentity } from './share-store.js';

/**
 * @param recipients whom this host encrypts for
 * @throws MirrorError `CONFIG_INVALID` when what this host writes would not be sealed for the share's escrow recipient
 */
export function expectEscrow(
  recipients: readonly string[],
  { id, escrow }: Pick<ShareIdentity, 'id' | 'escrow'>,
): void {
  if (escrow === undefined || recipients.includes(escrow)) return;
  throw new MirrorError(
    'CONFIG_INVALID',
    `share ${id} takes only what is encrypted for its escrow recipient ${escrow}, which \`encryption.recipients\` does not name`,
    { next: 'compare it with the one that you know, then add it to `encryption.recipients` of this host' },
  );
}
