/**
 * prepared: what a start is asked with, and what it is allowed with.
 */
import type { Arrival } from '../../host/journal-record.js';
import type { OwnTpmDirectory } from '../../libvirt/domain-care.js';
import type { AbsentPart, Capture, StateFile } from '../../model/capture.js';
import type { MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import type { Hold, Pending, PublishedState } from '../../model/lifecycle-state.js';
import { newestParts, partsOf } from '../../model/parts.js';
import { isOtherTpm, type RestoreDecision } from '../../model/restore-plan.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { NvramForm } from '../../model/nvram.js';
import type { TakeOver } from '../../model/take-over.js';
import type { DomainPlace } from '../domain-place.js';
import type { AskedOfAStart, Situation } from './situation.js';

export interface StartRequest extends AskedOfAStart {
  readonly name: string;
  readonly nvramPath?: string | null | undefined;
  readonly nvram?: NvramForm | null | undefined;
  /** The directory that the domain's owner chose for its TPM. */
  readonly tpm?: OwnTpmDirectory | undefined;
  /** libvirt's own hook asks, so that libvirt knows the domain as long as the start goes on. */
  readonly byHook?: boolean;
}

export type PrepareRequest = DomainPlace & Omit<StartRequest, 'nvramPath' | 'nvram'>;

/** A capture that is durable in the spool, still to be published. */
export interface SpooledCapture {
  readonly capture: Capture;
  readonly state: Pending;
  readonly spooledAs: string;
  /** The boot of this host in which it was read from the disk. */
  readonly bootId: string;
}

export interface Prepared {
  readonly decision: RestoreDecision['kind'];
  readonly hold: Hold;
  readonly published: PublishedState | undefined;
  readonly pending: SpooledCapture | undefined;
  /** Identity of the TPM that the domain starts with, when it is known. */
  readonly identity: string | undefined;
  readonly shareId: string | undefined;
  /** How this host came to the volume, when it took it from another one. */
  readonly takenOver?: TakeOver | undefined;
  /** What the domain starts with beside its TPM, or has at the head. */
  readonly parts: readonly StateFile[];
  /** Of these, what cannot be read on this host. */
  readonly absent: readonly AbsentPart[];
  /** What an operator should know of how the domain starts. */
  readonly notice?: MirrorError | undefined;
  /** The claim that names the directory in which swtpm is going to work on the share itself. */
  readonly live?: Slot | undefined;
  /** Of an incoming start: the head was put in place for the case that nothing comes. */
  readonly headPlaced?: boolean;
  /** Of a start that was announced as a migration, whatever it was decided to be. */
  readonly arrival?: Arrival | undefined;
  /** The claim under which the domain starts, where it has one. */
  readonly claim?: RunClaim | undefined;
}

/** @param identity of the volume's TPM, when it is known */
export function inSpool(
  capture: Capture,
  { spooledAs, bootId }: Pick<SpooledCapture, 'spooledAs' | 'bootId'>,
  identity?: string,
): SpooledCapture {
  const foreign = isOtherTpm(identity, capture.identity);
  const state = { digest: capture.digest, spooled: true, ...(foreign && { foreign }) };
  return { capture, state, spooledAs, bootId };
}

export function prepared(
  { shareId, record, local, volume }: Situation,
  { kind }: RestoreDecision,
  hold: Hold,
  published: PublishedState | undefined,
): Prepared {
  const identity = record?.identity ?? undefined;
  const head = volume?.head.kind === 'whole' ? volume.head.generation.capture : undefined;
  return {
    decision: kind,
    absent: local?.absent ?? [],
    parts: newestParts(partsOf(head), local ?? { files: [] }),
    hold,
    published,
    pending: undefined,
    identity,
    shareId: shareId ?? record?.shareId ?? undefined,
  };
}
