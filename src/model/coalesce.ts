/**
 * coalesce: one run of some work for all who ask for it while another one is under way.
 *
 * I1 Whoever asks is given the outcome of a run that began after asking: what was true before is in it.
 */

/** @returns `work`, of which at most one run is under way, and at most one more waits for it */
export function coalesced<Result>(work: () => Promise<Result>): () => Promise<Result> {
  let current: Promise<unknown> | undefined;
  let next: Promise<Result> | undefined;
  const begin = (): Promise<Result> => {
    const run = work().finally(() => {
      if (current === run) current = undefined;
    });
    current = run;
    return run;
  };
  return () => {
    if (next) return next;
    if (!current) return begin();
    const begun = (): Promise<Result> => {
      next = undefined;
      return begin();
    };
    next = current.then(begun, begun);
    return next;
  };
}
