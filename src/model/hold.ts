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

/** Another host holds the volume, or had the domain meanwhile; `claimed`: the log ends with a claim of this host all the same. */
export function fenced(hold: Hold, { by, claimed }: { readonly by: string; readonly claimed?: true }): Hold {
  const mayClaim = isClaiming(hold) || (hold.kind === 'wanted' && hold.inDoubt === true);
  return {
    kind: 'fenced',
    epoch: epochOf(hold),
    by,
    ...(claimed && { claimed: 'stands' }),
    ...(mayClaim && { claimed: 'in-doubt' }),
  };
}

/** A commit has an unknown outcome; `claiming`: a claim; `logTop`: where the log was seen to end since. */
export function doubted(hold: Hold, claiming: boolean, logTop: Slot | undefined): Hold {
  const seen = logTop === undefined ? {} : { logTop };
  switch (hold.kind) {
    case 'none':
      return hold;
    case 'wanted':
      return { ...hold, inDoubt: true };
    case 'fenced': {
      const { kind, epoch, by, claimed } = hold;
      return { kind, epoch, by, ...(claimed && { claimed }), ...seen };
    }
    case 'held':
    case 'doubt':
      return {
        kind: 'doubt',
        epoch: hold.epoch,
        ...((claiming || isClaiming(hold)) && { claiming: true }),
        ...seen,
      };
  }
}

/** The domain has stopped. One that was fenced may have been claimed for this host by hand meanwhile. */
export function atStop(hold: Hold): Hold {
  return hold.kind === 'fenced' ? { ...hold, claimed: hold.claimed ?? 'stands' } : hold;
}

/** Nothing is left to be stored of the domain: of a claim that was wanted, only what may have come of it still counts. */
export function whenOver(hold: Hold): Hold {
  return hold.kind === 'wanted' && hold.inDoubt ? { kind: 'doubt', epoch: 0, claiming: true } : hold;
}

/** An incoming domain waits for its source; a claim that stands, or may yet, from before is given back when it has stopped. */
export function whenIncoming(hold: Hold): Hold {
  return hasNothingToGiveBack(hold) ? { kind: 'none' } : { kind: 'wanted', how: 'migration', inDoubt: true };
}

/** Whether a claim of this host may stand. */
export function isHolding(hold: Hold): boolean {
  return (
    hold.kind === 'held' || hold.kind === 'doubt' || (hold.kind === 'fenced' && hold.claimed !== undefined)
  );
}

export function isClaiming(hold: Hold): boolean {
  return hold.kind === 'doubt' && hold.claiming === true;
}

/** Whether another host holds the volume, and a claim of this one may stand or take place all the same. */
export function isUnsettled(hold: Hold): boolean {
  if (hold.kind === 'fenced') return hold.claimed !== undefined;
  return hold.kind === 'doubt' && hold.claiming === true && hold.logTop !== undefined;
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
