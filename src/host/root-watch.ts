/**
 * root-watch: tells which domains' directories come and go in libvirt's directory of all of them.
 *
 * This one watch is not left to chokidar, which lists a watched directory at each event and asks after every name in it: here that is every
 * domain of the host at each start of one, and was a quarter of what a start cost.
 */
import { watch, type FSWatcher } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf } from '../model/errors.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

export interface RootWatchOptions {
  readonly swtpmRoot: string;
  /** A directory of this name came or went. */
  readonly onMoved: (uuid: DomainUuid) => void;
  readonly onError: (error: unknown) => void;
}

export class RootWatch {
  readonly #options: RootWatchOptions;
  #watcher: FSWatcher | undefined;

  constructor(options: RootWatchOptions) {
    this.#options = options;
  }

  /** Unless it is watched already. A root that is not there yet is watched from a later call on. */
  arm(): void {
    const { swtpmRoot, onError } = this.#options;
    if (this.#watcher) return;
    try {
      this.#watcher = watch(swtpmRoot);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') onError(error);
      return;
    }
    this.#watcher.on('change', (event, name) => {
      if (event === 'rename') this.#moved(String(name));
    });
    this.#watcher.on('error', onError);
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #moved(name: string): void {
    const { swtpmRoot, onMoved } = this.#options;
    if (isDomainUuid(name)) {
      onMoved(name);
    } else if (name === basename(swtpmRoot)) {
      // The root itself went, most likely, and its watch with it.
      this.close();
      this.arm();
    }
  }
}
