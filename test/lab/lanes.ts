/**
 * lanes: plays side by side, each lane on a cluster of its own. Scenarios wait more than they work, so two lanes keep two processors busy.
 */
import type { Outcome } from './report.js';
import type { Runner } from './runner.js';
import type { Scenario, Subject } from './scenario.js';

export class Lanes {
  readonly runners: readonly Runner[];

  constructor(runners: readonly Runner[]) {
    this.runners = runners;
  }

  /** Each play once, in order, by whichever lane is free. @param onOutcome called one at a time, as plays end */
  async play(
    plays: readonly (readonly [Scenario, Subject])[],
    onOutcome: (outcome: Outcome) => Promise<void>,
  ): Promise<void> {
    const left = [...plays];
    let told = Promise.resolve();
    const work = async (runner: Runner): Promise<void> => {
      for (let next = left.shift(); next; next = left.shift()) {
        const outcome = await runner.play(...next);
        told = told.then(() => onOutcome(outcome));
        await told;
      }
    };
    // Nothing is left running when one of them fails.
    const results = await Promise.allSettled(this.runners.slice(0, plays.length).map(work));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async end(): Promise<void> {
    await Promise.all(this.runners.map((runner) => runner.end()));
  }
}
