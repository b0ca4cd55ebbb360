/**
 * figures: numbers as the tables show them.
 */
import { summarise } from './statistics.js';

/** Three digits that matter. */
export function figure(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 3));
}

/** `12.3 (11.9 to 13.0)`: the median and the quartiles. */
export function spread(samples: readonly number[]): string {
  const { median, low, high } = summarise(samples);
  return `${figure(median)} (${figure(low)} to ${figure(high)})`;
}

/** `1.23 ×` */
export function times(ratio: number): string {
  return `${figure(ratio)} ×`;
}
