/**
 * hold: what a host knows of its claim on a volume, and how that changes. Pure; the states are told in `lifecycle.ts`.
 */
import type { Slot } from './generation-name.js';
import type { Hold, Lifecycle } from './lifecycle-state.js';

export function epochOf(hold: Hold): Slot {
  return hold.kind === 'held' || hold.kind === 'doubt' || hold.kind === 'fenced' ? hold.epoch : 0;
}

export function advance(hold: Hold, slot: Slot): Hold {
  return hold.kind === 'held' ? { ...hold, next: slot + 1 } : hold;
}

/** Another host holds the volume, or had the domain meanwhile. */
export function fenced(hold: Hold, { by, claimed }: { readonly by: string; readonly claimed?: true }): Hold {
  return { kind: 'fenced', epoch: epochOf(hold), by, ...(claimed && { claimed }) };
}

/** A commit has an unknown outcome; `claiming`: a claim. */
export function doubted(hold: Hold, claiming: boolean): Hold {
  if (hold.kind === 'wanted') return { ...hold, inDoubt: true };
  if (hold.kind !== 'held' && hold.kind !== 'doubt') return hold;
  const { epoch } = hold;
  return { kind: 'doubt', epoch, ...((claiming || isClaiming(hold)) && { claiming: true }) };
}

/** Whether a claim of this host may stand. */
export function isHolding(hold: Hold): boolean {
  return hold.kind === 'held' || hold.kind === 'doubt' || (hold.kind === 'fenced' && hold.claimed === true);
}

export function isClaiming(hold: Hold): boolean {
  return hold.kind === 'doubt' && hold.claiming === true;
}

/** Whether a stop leaves no claim behind. */
export function hasNothingToGiveBack(hold: Hold): boolean {
  switch (hold.kind) {
    case 'none':
      return true;
    case 'wanted':
      return !hold.inDoubt;
    case 'fenced':
      return !hold.claimed;
    case 'held':
    case 'doubt':
      return false;
  }
}

/**
 * The hold of a domain whose start failed after a claim. What the last run left was captured under the claim before that one: whether it may follow the
 * head is judged from there, for another host may have had the domain in between.
 *
 * @param claim the one that the start made; 'unknown' when it is in doubt
 * @param known the claim that this host knew of before
 */
export function holdAfterFailedStart(
  { hold, pending }: Lifecycle,
  claim: Slot | 'unknown',
  known: Slot,
): Hold {
  if (pending && hold.kind === 'wanted') return { ...hold, inDoubt: true };
  if (claim === 'unknown') return { kind: 'doubt', epoch: known, claiming: true };
  const before = pending ? epochOf(hold) : 0;
  return { kind: 'doubt', epoch: before > 0 ? before : claim };
}
