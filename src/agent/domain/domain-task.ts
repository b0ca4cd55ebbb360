/**
 * domain-task: what a task on the share is told of its domain, and what it answers.
 */
import type { GenerationReason } from '../../bundle/manifest.js';
import type { Arrival } from '../../host/journal-record.js';
import type { Capture, StateFile } from '../../model/capture.js';
import type { MirrorError } from '../../model/errors.js';
import type { HostName } from '../../model/identifiers.js';
import type { LifecycleEvent, PublishedState } from '../../model/lifecycle-state.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { TakeOver } from '../../model/take-over.js';
import type { DomainPlace } from '../domain-place.js';

export interface DomainTask extends DomainPlace {
  readonly name: string;
  /** The pending capture. */
  readonly capture: Capture | undefined;
  /** The boot in which it was read from the disk. */
  readonly bootId: string;
  /** What this host last knew to be the head. */
  readonly published: PublishedState | undefined;
  readonly reason: GenerationReason;
  /** Whether the domain has stopped here and nothing of it is left to publish. */
  readonly over: boolean;
  /** Its claim is one of a former run of this program. */
  readonly recalled: boolean;
  /** Digest of the diverged copy that the capture comes after, if any. */
  readonly supersedes: string | undefined;
  /** Of a domain that came by migration. */
  readonly arrival: Arrival | undefined;
  /** How long this run of the program has known that it is here, ms. */
  readonly arrivedForMs: number;
}

export interface TaskOutcome {
  readonly event: LifecycleEvent;
  /** What the operator should know, beside the event. */
  readonly error?: MirrorError;
  /** Hosts in the volume's log that have no record on the share, where the task has learnt it. */
  readonly strangers?: readonly HostName[] | undefined;
  /** Of the head's TPM, where the task has learnt it. */
  readonly identity?: string | undefined;
  /** What the head has beside the TPM, where the task has learnt it. */
  readonly parts?: readonly StateFile[] | undefined;
  /** How this host came to the volume, when it took it from another one. */
  readonly takenOver?: TakeOver | undefined;
  /** The claim under which this host holds the volume now. */
  readonly claim?: RunClaim | undefined;
}
