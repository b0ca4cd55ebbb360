/**
 * suit-nvram: what of a generation's firmware variables is put in place, judged by what the domain's firmware expects. The TPM is put in place all the same.
 *
 * I1 (G5) What does not suit is kept: as a snapshot in the volume, and what it would have replaced on this host is set aside.
 */
import { MirrorError } from '../../model/errors.js';
import { isTpmRole, type Capture, type StateFile } from '../../model/capture.js';
import type { Slot } from '../../model/generation-name.js';
import { parseSnapshotName, type DomainUuid } from '../../model/identifiers.js';
import { factsOfFile, FILE_FORM, planNvram, type NvramDecision } from '../../model/nvram.js';
import { partsOf } from '../../model/parts.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainPlace } from '../domain-place.js';

export interface SuitedCapture {
  /** As much of the capture as is put in place. */
  readonly capture: Capture;
  /** What stands in the place of the variables makes room for fresh ones. */
  readonly clearNvram: boolean;
  /** What the run begins with. */
  readonly parts: readonly StateFile[];
  readonly notice?: MirrorError | undefined;
  /** The stored variables are not used: they are to be kept under this snapshot's name. */
  readonly keepAs?: string | undefined;
}

/**
 * @param slot of the generation that the capture is of; 0 for none
 * @param restoring the TPM comes from the volume
 * @throws MirrorError `NVRAM_MISMATCH`, where the configuration refuses
 */
export async function suitNvram(
  { files, config, log }: Pick<AgentContext, 'files' | 'config' | 'log'>,
  place: DomainPlace & { readonly name: string },
  capture: Capture,
  slot: Slot,
  restoring: boolean,
): Promise<SuitedCapture> {
  const parts = partsOf(capture);
  if (place.nvramPath === undefined) return { capture, clearNvram: false, parts };
  const { role } = place.nvram ?? FILE_FORM;
  const stored = parts.find((file) => file.role === role);
  const lost = capture.absent?.find((part) => part.role === role && part.kind === 'lost')?.reason;
  const decision = planNvram({
    stored: stored && factsOfFile(stored, role),
    otherRole: stored === undefined && parts.length > 0,
    lost,
    ...(await files.lookAtNvram(place)),
    restoring,
    mismatch: config.nvram.mismatch,
  });
  const { uuid, name } = place;
  if (decision.kind === 'write') return { capture, clearNvram: false, parts };
  const rest = { ...capture, files: capture.files.filter((file) => isTpmRole(file.role)) };
  const isLost = lost !== undefined && stored === undefined;
  if (decision.kind === 'refuse') throw isLost ? refusedAsLost(uuid, lost) : refused(uuid, decision.why);
  const isFreshForLost = isLost && decision.kind === 'fresh';
  const notice = isFreshForLost
    ? lostNotice(uuid, lost)
    : noticeOf(uuid, name, place.nvramPath, decision, slot);
  if (notice) log.warn({ uuid, code: notice.code }, notice.message);
  if (decision.kind === 'keep') return { capture: rest, clearNvram: false, parts, notice };
  const keepAs = isLost ? undefined : snapshotName(slot);
  return { capture: rest, clearNvram: decision.clear, parts: [], notice, keepAs };
}

/** Keeps the generation whose variables are not used, where it is one of the volume's. */
export async function keepUnused(
  { snapshots }: Pick<AgentContext, 'snapshots'>,
  uuid: DomainUuid,
  { keepAs }: SuitedCapture,
  slot: Slot,
): Promise<void> {
  if (keepAs !== undefined && slot > 0) await snapshots.pin({ uuid, slot, name: parseSnapshotName(keepAs) });
}

function snapshotName(slot: Slot): string {
  return `nvram-${String(slot)}`;
}

function noticeOf(
  uuid: DomainUuid,
  name: string,
  path: string,
  decision: Exclude<NvramDecision, { kind: 'write' | 'refuse' }>,
  slot: Slot,
): MirrorError | undefined {
  if (decision.kind === 'fresh') {
    return new MirrorError(
      'NVRAM_MISMATCH',
      `the stored NVRAM of ${uuid} does not suit its firmware and was not put in place: ${decision.why}; a fresh one is made from the template`,
      {
        next: `nothing, if the firmware was changed; the stored one is kept as snapshot ${snapshotName(slot)}`,
      },
    );
  }
  if (decision.problem === undefined) return undefined;
  return new MirrorError(
    'NVRAM_MISMATCH',
    `${path} does not suit the firmware of ${uuid}: ${decision.problem}`,
    {
      next: `if the VM does not start, \`virsh start --reset-nvram ${name || uuid}\` makes a fresh one; its generations keep this one`,
    },
  );
}

/** The variables are gone from the volume itself. */
function lostNotice(uuid: DomainUuid, reason: string): MirrorError {
  return new MirrorError(
    'PART_UNREADABLE',
    `the stored NVRAM of ${uuid} is ${reason}: its TPM is put in place without it, and a fresh one is made from the template`,
    { next: findIt(uuid) },
  );
}

function refusedAsLost(uuid: DomainUuid, reason: string): MirrorError {
  return new MirrorError('NVRAM_MISMATCH', `the stored NVRAM of ${uuid} is ${reason}`, {
    next: `${findIt(uuid)}; or set nvram.mismatch = "fresh" to start it with fresh variables and the same TPM`,
  });
}

function findIt(uuid: DomainUuid): string {
  return `see with \`swtpm-mirror history ${uuid}\` and \`swtpm-mirror verify ${uuid}\` which generation has its NVRAM, and take it out of that one with \`swtpm-mirror restore\``;
}

function refused(uuid: DomainUuid, why: string): MirrorError {
  return new MirrorError('NVRAM_MISMATCH', `the stored NVRAM of ${uuid} does not suit its firmware: ${why}`, {
    next: 'give the VM the firmware that it had; or set nvram.mismatch = "fresh" to start it with fresh variables and the same TPM',
  });
}
