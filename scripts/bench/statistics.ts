/**
 * statistics: what a row of samples comes to.
 */
export interface Summary {
  readonly count: number;
  readonly median: number;
  /** First and third quartile. */
  readonly low: number;
  readonly high: number;
}

/** @throws Error when there is no sample */
export function summarise(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((one, other) => one - other);
  return {
    count: sorted.length,
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
  };
}

export function median(samples: readonly number[]): number {
  return summarise(samples).median;
}

/** Between two samples, in proportion. */
function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new Error('expected at least one sample');
  return below + (above - below) * (at - Math.floor(at));
}
