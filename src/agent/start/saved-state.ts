/**
 * saved-state: a domain that is about to be restored from a save file brings the TPM that it was
 * saved with, over whatever its preparation puts in place. The file has the claim of its run, too.
 */
import { asMirrorError, MirrorError } from '../../model/errors.js';
import { isOlderThanHead } from '../../model/arrival.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { AgentContext } from '../agent-context.js';
import { isAtRest, type JournalRecord } from '../../host/journal-record.js';
import { readWholeLog } from '../share/volume-look.js';

/**
 * A file without a claim says nothing, and is let through. One with a claim is refused where it is
 * proved to be older; while the last run here has left something that is not stored yet, which may be
 * of a later one; and where the share cannot be asked, unless all that this host knows says that the
 * run which it was saved in is the domain's last.
 *
 * @throws MirrorError `STATE_BEHIND`; what kept the share from being asked
 */
export async function expectSavedIsNewest(
  context: AgentContext,
  uuid: DomainUuid,
  claim: RunClaim | undefined,
): Promise<void> {
  if (!claim) return;
  const record = await context.journal.read(uuid);
  const isStored = (await context.spool.peek(uuid)).newest === undefined;
  if (!isStored || (record && !isAtRest(record))) throw notStoredYet(uuid);
  const look = await readWholeLog(context, uuid).catch(async (error: unknown) => {
    if (isOfLastRun(record, claim)) return undefined;
    throw notAsked(uuid, asMirrorError(error));
  });
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

/** As far as this host knows, which has stored what it had. */
function isOfLastRun(record: JournalRecord | undefined, { epoch }: RunClaim): boolean {
  return record?.epoch === epoch && record.fenced === null && record.phase === 'stopped';
}

function notStoredYet(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'STATE_BEHIND',
    `what the last run of ${uuid} on this host left is not stored yet, so that nothing tells whether its save file is older`,
    {
      next: `see \`swtpm-mirror status ${uuid}\`; when that is stored, restore it again, or start the domain without the file`,
      retriable: true,
    },
  );
}

function notAsked(uuid: DomainUuid, cause: MirrorError): MirrorError {
  return new MirrorError(
    cause.code,
    `whether the save file of ${uuid} has its newest TPM cannot be told: ${cause.message}`,
    {
      next: 'wait until the share answers, then restore it again; or start the domain without it',
      retriable: true,
      cause,
    },
  );
}
