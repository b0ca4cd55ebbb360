/**
 * state-fault: what can be wrong with a TPM's state files, by what it proves. Pure.
 *
 *   torn            a write did not reach its end: the file is empty, or shorter than its own header says
 *   zeroed          its end, or all of it, is zeros: so a power loss leaves what never reached the disk
 *   damaged         in a format that is known, and contradicts it
 *   not-understood  in a format that this version does not know: it may be whole
 *   unreadable      never read: a link, a directory or a device in its place, no permission, an I/O error
 *
 * I1 Only a fault that proves that nothing can be made of a state lets it lose to another one in
 *    silence: `torn`, and `zeroed` where the host has lost its power since. Whoever cannot tell says so.
 */
import { MirrorError, type ErrorCode } from './errors.js';

export const STATE_FAULTS = ['torn', 'zeroed', 'damaged', 'not-understood', 'unreadable'] as const;

export type StateFault = (typeof STATE_FAULTS)[number];

/** Why a final state could not be stored. Of a torn one nothing is left that could be. */
export const UNSTORED_FAULTS = ['zeroed', 'damaged', 'not-understood', 'unreadable'] as const;

export type UnstoredFault = (typeof UNSTORED_FAULTS)[number];

/** Whether its bytes were read, and may be those of a whole state: a torn file in its place is another one. */
export function mayBeWhole(fault: UnstoredFault): boolean {
  return fault === 'damaged' || fault === 'not-understood';
}

/** `STATE_NOT_UNDERSTOOD` for what may be whole, `STATE_INVALID` for everything else. */
export function faultCode(fault: StateFault): ErrorCode {
  return fault === 'not-understood' ? 'STATE_NOT_UNDERSTOOD' : 'STATE_INVALID';
}

/** The error that tells of a fault. */
export function stateFault(
  fault: StateFault,
  message: string,
  options: { readonly next: string; readonly cause?: unknown },
): MirrorError {
  return new MirrorError(faultCode(fault), message, { ...options, fault });
}

/** The fault that an error tells of; `undefined` for an error of another kind. */
export function stateFaultOf(error: unknown): StateFault | undefined {
  if (!(error instanceof MirrorError)) return undefined;
  const { code, fault } = error;
  const known = STATE_FAULTS.find((each) => each === fault);
  if (known) return known;
  return code === 'STATE_INVALID' ? 'damaged' : undefined;
}

/** Whether it shows that a write, or the disk under it, did not come to its end. */
export function isCutOff(fault: StateFault): boolean {
  return fault === 'torn' || fault === 'zeroed';
}
