/**
 * arrivals: the one observer of every contestant: tells when a name appears in a directory (inotify, in this process).
 */
import { watch } from 'node:fs';
import type { TestScope } from '../../test/fixtures/temporary-directory.js';

export class Arrivals {
  readonly #expects: (name: string) => boolean;
  #arrived: (() => void) | undefined;

  /** @param expects whether a name that appears, or is replaced, is what the contestant makes */
  constructor(scope: TestScope, directory: string, expects: (name: string) => boolean) {
    this.#expects = expects;
    const watcher = watch(directory, (event, name) => {
      if (event === 'rename' && name !== null && this.#expects(name)) this.#arrived?.();
    });
    scope.teardown(() => {
      watcher.close();
    });
  }

  /** When the next one appears, ms of `performance.now`. */
  next(): Promise<number> {
    return new Promise((resolve) => {
      this.#arrived = () => {
        this.#arrived = undefined;
        resolve(performance.now());
      };
    });
  }
}
