/**
 * duration: spans of time as people write them, `200ms`, `5s`, `1m`, `2h`, to milliseconds and back.
 */

const UNITS: readonly (readonly [name: string, ms: number])[] = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];
const DURATION = /^(\d{1,10})(ms|s|m|h)$/;

/** Milliseconds, or `undefined` when `text` is not a whole number with a unit. */
export function parseDurationMs(text: string): number | undefined {
  const [, amount, name] = DURATION.exec(text) ?? [];
  const unit = UNITS.find((candidate) => candidate[0] === name);
  return unit === undefined ? undefined : Number(amount) * unit[1];
}

/** The shortest exact form: `90s`, not `1m30s`; whole milliseconds only. */
export function formatDuration(durationMs: number): string {
  for (const [name, ms] of UNITS) {
    if (durationMs >= ms && durationMs % ms === 0) return `${durationMs / ms}${name}`;
  }
  return `${durationMs}ms`;
}
