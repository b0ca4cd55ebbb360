/**
 * saved-state: a domain that is about to be restored from a save file brings the TPM that it was
 * saved with, over whatever its preparation puts in place. The file has the claim of its run, too.
 */
import { MirrorError } from '../../model/errors.js';
import { isOlderThanHead } from '../../model/arrival.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { AgentContext } from '../agent-context.js';
import { readWholeLog } from '../share/volume-look.js';

/**
 * Only what is proved is refused: a file without a claim says nothing, and a share that does not
 * answer is a matter for the start that follows.
 *
 * @throws MirrorError `STATE_BEHIND`
 */
export async function expectSavedIsNewest(
  context: AgentContext,
  uuid: DomainUuid,
  claim: RunClaim | undefined,
): Promise<void> {
  if (!claim) return;
  const look = await readWholeLog(context, uuid).catch(() => undefined);
  const log = look?.volume?.log;
  if (!log?.head || !isOlderThanHead(log, claim)) return;
  const { slot, host } = log.head;
  throw new MirrorError(
    'STATE_BEHIND',
    `${uuid} was saved in its run under claim ${String(claim.epoch)} of ${claim.host}, and ${host} has stored generation ${String(slot)} since: the TPM in the save file is older`,
    {
      next: 'start the domain without it (`virsh managedsave-remove` first, if it is a managed save); to go back to what the file holds, take the element `run` out of its metadata with `virsh save-image-edit` or `virsh managedsave-edit`, then restore it',
    },
  );
}
