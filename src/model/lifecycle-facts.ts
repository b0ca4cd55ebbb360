/**
 * lifecycle-facts: what follows from a lifecycle state, or from two digests, at a glance. Pure.
 */
import type { Lifecycle, PublishedState } from './lifecycle-state.js';

/** Whether two digests name one content; either may be a prefix. */
export function sameDigest(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one);
}

/** Whether the domain runs here, or is about to. What has stopped says all that it has to say by its release. */
export function isUp({ run }: Lifecycle): boolean {
  return run === 'running' || run === 'prepared';
}

/** Whether what its swtpm writes counts. */
export function isInUse(state: Lifecycle): boolean {
  return state.run === 'running' || (state.run === 'finishing' && !state.capturesOver);
}

export function isSameState(one: PublishedState | undefined, other: PublishedState | undefined): boolean {
  return one && other ? sameDigest(one.digest, other.digest) : one === other;
}
