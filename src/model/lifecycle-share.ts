/**
 * lifecycle-share: what the outcomes of tasks on the share make of a domain's lifecycle. Pure; the invariants are those of `lifecycle.ts`.
 */
import { advance, doubted, epochOf, fenced } from './hold.js';
import { isInUse, isSameState, sameDigest } from './lifecycle-facts.js';
import type { Lifecycle, LifecycleEvent, Pending } from './lifecycle-state.js';

/** Sweep and prune follow the first publish of an epoch and every so many after it. */
const TIDY_EVERY = 16;

/** More than there are captures between two looks at one; an older one that is seen again is kept again. */
const OUTDATED_MAX = 8;

type ShareEvent = Extract<
  LifecycleEvent,
  {
    kind:
      | 'acquired'
      | 'fenced'
      | 'published'
      | 'diverged'
      | 'released'
      | 'tidied'
      | 'confirmed'
      | 'doubted'
      | 'share-failed';
  }
>;

/** The outcome of the task in the share lane, which has ended. */
export function stepShare(before: Lifecycle, event: ShareEvent): Lifecycle {
  const state: Lifecycle = { ...before, share: 'idle', carrying: undefined };
  const fine = { ...state, trouble: false };
  switch (event.kind) {
    case 'acquired':
      return acquired(fine, event);
    case 'fenced':
      return { ...fine, hold: fenced(state.hold, event) };
    case 'published':
      return withoutPublished({
        ...fine,
        hold: advance(state.hold, event.slot),
        published: { slot: event.slot, digest: event.digest, at: event.at },
        untidy: state.untidy || (event.slot - epochOf(state.hold)) % TIDY_EVERY === 1,
      });
    case 'diverged':
      return diverged(fine, event.digest);
    case 'released':
      return state.hold.kind === 'fenced'
        ? { ...fine, hold: fenced(state.hold, { by: state.hold.by }) }
        : wantIfNeeded({ ...fine, hold: { kind: 'none' } });
    case 'tidied':
      return { ...fine, untidy: false };
    case 'confirmed':
      return fine;
    case 'doubted':
      return { ...fine, hold: doubted(state.hold, false, undefined) };
    case 'share-failed':
      return {
        ...state,
        hold: event.inDoubt ? doubted(state.hold, before.share === 'acquire', event.logTop) : state.hold,
        unconfirmed: state.unconfirmed || before.share === 'confirm',
        trouble: true,
        backoff: true,
      };
  }
}

function acquired(state: Lifecycle, event: Extract<LifecycleEvent, { kind: 'acquired' }>): Lifecycle {
  const { epoch, published, outdated = state.outdated, onlySettles } = event;
  const mayDiffer = !onlySettles && isInUse(state) && !isSameState(state.published, published);
  return withoutPublished({
    ...state,
    hold: { kind: 'held', epoch, next: epoch + 1 },
    published,
    pending: stillPending(state.pending, event, outdated),
    outdated,
    unjudged: false,
    dirty: state.dirty || mayDiffer,
    untidy: true,
  });
}

function diverged(state: Lifecycle, digest: string): Lifecycle {
  const others = state.outdated.filter((other) => other !== digest);
  return {
    ...state,
    pending: state.pending?.digest === digest ? undefined : state.pending,
    outdated: [...others, digest].slice(-OUTDATED_MAX),
  };
}

/** Not a capture that the spool kept although it was published, and something newer after it; nor one that is from before the head. */
function stillPending(
  pending: Pending | undefined,
  { history, foreign }: Extract<LifecycleEvent, { kind: 'acquired' }>,
  outdated: readonly string[],
): Pending | undefined {
  if (!pending) return undefined;
  const isPublished = pending.spooled && history.some((digest) => sameDigest(digest, pending.digest));
  if (isPublished || outdated.includes(pending.digest)) return undefined;
  return foreign ? { ...pending, foreign } : pending;
}

/** A pending capture that turns out to be the head is published. */
function withoutPublished(state: Lifecycle): Lifecycle {
  const { pending, published } = state;
  return pending && published && sameDigest(pending.digest, published.digest)
    ? { ...state, pending: undefined }
    : state;
}

/** A domain that came back, or a change that was seen, while the volume was given up. */
export function wantIfNeeded(state: Lifecycle): Lifecycle {
  const needed = state.hold.kind === 'none' && (state.run === 'running' || state.pending !== undefined);
  return needed ? { ...state, hold: { kind: 'wanted', how: 'adopt' } } : state;
}
