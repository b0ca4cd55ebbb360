/**
 * watcher: tells that a domain's state files may have changed (chokidar, over inotify).
 *
 *   <swtpm_dir>                 one watch: domain directories come and go (`root-watch.ts`)
 *   <swtpm_dir>/<uuid>          of each managed domain: TPM directories come and go
 *   <swtpm_dir>/<uuid>/tpm2     state files are renamed into it or written in place
 *   the NVRAM file              written in place
 *
 * What marks a domain is the raw event: chokidar's own `change` is dropped within 50 ms of the one before, and chokidar tells a directory by its
 * name, so that one moved away and replaced (our own restore does that) would stay watched where it went. Whenever a directory or the
 * NVRAM appears or goes, the domain's watches are therefore set up afresh, and the domain is marked. What is to be watched is looked for before
 * the watches stand and again when they do: what came or went between the two raises no event.
 *
 * I1 An event only marks a domain as dirty; nothing is read, awaited or decided here.
 * I2 Of the domains in `<swtpm_dir>` only managed ones have watches of their own.
 * Not guaranteed: every event. The kernel's queue can overflow unseen and the number of watches is limited (`onError`), so the owner
 * rescans by content from time to time.
 */
import { basename } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { STATE_FILE_NAMES } from '../model/capture.js';
import { asMirrorError, errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import type { DomainUuid } from '../model/identifiers.js';
import { TPM_DIRECTORY_NAMES, tpmDirectory, tpmRoles, type DomainPaths } from './domain-paths.js';
import { lstatIfAny } from './files.js';
import { asHostError } from './host-error.js';
import { RootWatch } from './root-watch.js';

export interface StateWatcher {
  /** Resolves when changes from now on are noticed. Watching a domain again takes its new paths, and what stands at the old ones by now. */
  watch(paths: DomainPaths): Promise<void>;
  unwatch(uuid: DomainUuid): Promise<void>;
  close(): Promise<void>;
}

export interface WatcherOptions {
  readonly fs: FileSystem;
  /** libvirt's directory of all domains' TPMs. */
  readonly swtpmRoot: string;
  readonly onDirty: (uuid: DomainUuid) => void;
  readonly onError: (error: MirrorError) => void;
}

/** What inotify runs out of; `ENOSPC` has nothing to do with a disk there. */
const LIMITS: ReadonlyMap<string, { readonly what: string; readonly key: string; readonly value: number }> =
  new Map([
    ['ENOSPC', { what: 'inotify watches', key: 'fs.inotify.max_user_watches', value: 524_288 }],
    ['EMFILE', { what: 'inotify instances', key: 'fs.inotify.max_user_instances', value: 1024 }],
  ]);

export class ChokidarStateWatcher implements StateWatcher {
  readonly #options: WatcherOptions;
  readonly #domains = new Map<DomainUuid, DomainWatch>();
  readonly #root: RootWatch;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#root = new RootWatch({
      swtpmRoot: options.swtpmRoot,
      onMoved: (uuid) => this.#domains.get(uuid)?.renew(),
      onError: (error) => {
        options.onError(watchError(error));
      },
    });
  }

  async watch(paths: DomainPaths): Promise<void> {
    this.#root.arm();
    const known = this.#domains.get(paths.uuid);
    if (known?.isOf(paths)) {
      await known.refresh();
      return;
    }
    await known?.close();
    const domain = new DomainWatch(this.#options, paths);
    this.#domains.set(paths.uuid, domain);
    await domain.arm();
  }

  async unwatch(uuid: DomainUuid): Promise<void> {
    const domain = this.#domains.get(uuid);
    this.#domains.delete(uuid);
    await domain?.close();
  }

  async close(): Promise<void> {
    const domains = [...this.#domains.values()];
    this.#domains.clear();
    this.#root.close();
    await Promise.all(domains.map((domain) => domain.close()));
  }
}

/** The watches of one domain. */
class DomainWatch {
  readonly #paths: DomainPaths;
  readonly #markDirty: () => void;
  readonly #watch: RearmableWatch;

  constructor(options: WatcherOptions, paths: DomainPaths) {
    this.#paths = paths;
    this.#markDirty = () => {
      options.onDirty(paths.uuid);
    };
    this.#watch = new RearmableWatch({
      ...options,
      places: () => this.#existing(options.fs),
      onEvent: (event, name, watched) => {
        this.#onEvent(event, name, watched);
      },
    });
  }

  isOf({ swtpmDirectory, nvramPath, own }: DomainPaths): boolean {
    return (
      this.#paths.swtpmDirectory === swtpmDirectory &&
      this.#paths.nvramPath === nvramPath &&
      this.#paths.own?.directory === own?.directory
    );
  }

  arm(): Promise<void> {
    return this.#watch.arm();
  }

  refresh(): Promise<void> {
    return this.#watch.refresh();
  }

  close(): Promise<void> {
    return this.#watch.close();
  }

  /** Something to watch came or went: what was written before the new watches stood is found by a mark after them. */
  renew(): void {
    this.#markDirty();
    void this.#watch.arm().then(this.#markDirty);
  }

  #onEvent(event: string, name: string, watched: string): void {
    const { swtpmDirectory, nvramPath } = this.#paths;
    if (watched === nvramPath) {
      if (event === 'rename') this.renew();
      else this.#markDirty();
    } else if (watched === swtpmDirectory) {
      if (event === 'rename' && this.#isTpmDirectory(name)) this.renew();
    } else if (event === 'rename' && this.#isTpmDirectory(name)) {
      // The watched directory itself went.
      this.renew();
    } else if (TPM_DIRECTORY_NAMES.some((role) => STATE_FILE_NAMES[role].includes(name))) {
      this.#markDirty();
    }
  }

  #isTpmDirectory(name: string): boolean {
    return tpmRoles(this.#paths).some((role) => basename(tpmDirectory(this.#paths, role)) === name);
  }

  /** The places that exist: chokidar would watch the parent of one that does not, which is not the domain's own. */
  async #existing(fs: FileSystem): Promise<Places> {
    const { swtpmDirectory, nvramPath } = this.#paths;
    const found = new Map<string, bigint>();
    const add = async (path: string, kind: 'directory' | 'file'): Promise<boolean> => {
      const stat = await lstatIfAny(fs, 'watcher:lstat', path);
      if (stat?.kind !== kind) return false;
      found.set(path, stat.inode);
      return true;
    };
    if (await add(swtpmDirectory, 'directory')) {
      for (const role of tpmRoles(this.#paths)) await add(tpmDirectory(this.#paths, role), 'directory');
    }
    if (nvramPath !== undefined) await add(nvramPath, 'file');
    return found;
  }
}

/** Paths and the inodes that they name. */
type Places = ReadonlyMap<string, bigint>;

interface RearmableOptions {
  /** What to watch now. */
  readonly places: () => Promise<Places>;
  /** A raw event: `rename` or `change`, of a name in a watched directory, or of a watched file. */
  readonly onEvent: (event: string, name: string, watched: string) => void;
  readonly onError: (error: MirrorError) => void;
}

/** A set of watched paths that can be set up afresh. */
class RearmableWatch {
  readonly #options: RearmableOptions;
  #watcher: FSWatcher | undefined;
  /** What is watched, if nothing failed. */
  #watched: Places | undefined;
  #arming: Promise<void> | undefined;
  /** Set while another round of arming is wanted. */
  #isStale = false;
  #isClosed = false;

  constructor(options: RearmableOptions) {
    this.#options = options;
  }

  /** Resolves when every place that exists is watched anew; a failure goes to `onError`. */
  arm(): Promise<void> {
    this.#isStale = true;
    this.#arming ??= this.#armUntilFresh().finally(() => {
      this.#arming = undefined;
    });
    return this.#arming;
  }

  /** As `arm`, but watches that stand on what is there now stay: making one costs a dozen calls, and a start asks twice. */
  async refresh(): Promise<void> {
    const watched = this.#arming ? undefined : this.#watched;
    const places = watched && (await this.#options.places().catch(() => undefined));
    const stands = watched && places && isSame(watched, places) && watched === this.#watched;
    if (!stands) await this.arm();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#arming;
    await this.#disarm();
  }

  async #armUntilFresh(): Promise<void> {
    try {
      while (this.#isStale && !this.#isClosed) {
        this.#isStale = false;
        await this.#disarm();
        const places = await this.#options.places();
        this.#watched = places;
        if (places.size > 0) await this.#start(places);
        if (!isSame(places, await this.#options.places())) this.#isStale = true;
      }
    } catch (error) {
      this.#report(error);
    }
  }

  async #start(places: Places): Promise<void> {
    const watcher = watch([...places.keys()], {
      depth: 0,
      ignored: (path) => !places.has(path),
      ignoreInitial: true,
      followSymlinks: false,
      usePolling: false,
      atomic: false,
    });
    this.#watcher = watcher;
    watcher.on('raw', (event, name, details) => {
      this.#options.onEvent(event, name, watchedPathOf(details));
    });
    watcher.on('error', (error) => {
      this.#report(error);
    });
    await new Promise<void>((resolve) => watcher.once('ready', resolve));
  }

  async #disarm(): Promise<void> {
    const watcher = this.#watcher;
    this.#watcher = undefined;
    this.#watched = undefined;
    if (!watcher) return;
    await watcher.close();
    // Closing took all listeners away; what chokidar had under way can still fail, and an error without a listener ends the process.
    watcher.on('error', () => undefined);
  }

  #report(error: unknown): void {
    this.#watched = undefined;
    this.#options.onError(watchError(error));
  }
}

/** Why changes are not told at once, and what that costs. */
export function watchError(error: unknown): MirrorError {
  const limit = LIMITS.get(errnoOf(error) ?? '');
  if (limit !== undefined) {
    return new MirrorError(
      'HOST_IO',
      `cannot watch state files: this host has no ${limit.what} left, so changes are found by looking, once in \`timing.rescan\` (30 s) instead of within 0.1 s`,
      {
        next: `raise it: \`sysctl ${limit.key}=${limit.value}\`, and the same line in a file of /etc/sysctl.d`,
        cause: error,
      },
    );
  }
  return asMirrorError(asHostError('watch state files', error));
}

function isSame(before: Places, after: Places): boolean {
  return before.size === after.size && [...before].every(([path, inode]) => after.get(path) === inode);
}

/** chokidar types the details of a raw event as unknown; over inotify they name the watch that the event came from. */
function watchedPathOf(details: unknown): string {
  const isNamed = typeof details === 'object' && details !== null && 'watchedPath' in details;
  return isNamed ? String(details.watchedPath) : '';
}
