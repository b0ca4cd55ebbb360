/**
 * scenario: one way in which machines fail, and what must hold then. The same scenario runs against the product, and, as its control, against the plain
 * publisher, which must be caught by it.
 */
import type { Bench, BenchOptions } from './bench.js';

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** In `lab run short`. */
  readonly short?: boolean;
  /** Whether the plain publisher is run as the control. Of each family of faults, one scenario at least. */
  readonly control?: boolean;
  /** What the operator was warned of: here the product must lose, or the lab would not bite. */
  readonly unsafe?: boolean;
  readonly options?: BenchOptions;
  /** @throws Error when the scenario could not be played to its end, which is a failure of its own */
  play(bench: Bench): Promise<void>;
}

/** The same for scenarios that can have services in common. */
export function optionsKey({ options = {} }: Scenario): string {
  return JSON.stringify(options);
}

export type Subject = 'product' | 'control';

export function mustBeCaught({ unsafe }: Scenario, subject: Subject): boolean {
  return subject === 'control' || (unsafe ?? false);
}
