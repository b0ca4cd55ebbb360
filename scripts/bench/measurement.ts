/**
 * measurement: what every measurement is given, and what it gives back.
 */
import type { TestScope } from '../../test/fixtures/temporary-directory.js';
import type { Natives } from './natives.js';

export interface Measurement {
  /** For `--only`, and in the results. */
  readonly name: string;
  readonly title: string;
  run(bench: Bench): Promise<Outcome>;
}

export interface Bench {
  /** A smoke run: every step once or a few times, and no figure worth keeping. */
  readonly quick: boolean;
  /** An empty directory on the file system that is measured; its path is short. */
  readonly directory: string;
  /** What is to be ended when the measurement is over, last first. */
  readonly scope: TestScope;
  readonly natives: Natives;
  readonly progress: (text: string) => void;
}

export interface Outcome {
  readonly table: Table;
  readonly goals: readonly Goal[];
  /** What has to be known to read the figures; whole sentences. */
  readonly notes: readonly string[];
  /** Every sample, by what was measured; the name ends with the unit. */
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** For the chart. */
  readonly bars?: readonly Bar[];
}

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Goal {
  readonly text: string;
  readonly met: boolean;
  /** The number that it is judged by. */
  readonly found: string;
}

/** A median with its quartiles, ms. */
export interface Bar {
  readonly label: string;
  readonly samples: readonly number[];
  readonly isOurs: boolean;
}
