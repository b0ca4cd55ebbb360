/**
 * scope: what a measurement has started, to be ended after it, last first.
 */
import type { TestScope } from '../../test/fixtures/temporary-directory.js';

export class Scope implements TestScope {
  readonly #actions: (() => unknown)[] = [];

  teardown(action: () => unknown): void {
    this.#actions.push(action);
  }

  /** Every action is tried. @throws the first failure */
  async end(): Promise<void> {
    const failures: unknown[] = [];
    for (let action = this.#actions.pop(); action; action = this.#actions.pop()) {
      try {
        await action();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
