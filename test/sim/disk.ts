/**
 * disk: a host's local disk: the `FileSystem` port over an inode tree, with a latency for each call and a fate for each kind of crash.
 *
 * - A killed process loses its handles and nothing else. A call that it had made takes place or not, by chance.
 * - Power loss keeps what was synced; of the rest it keeps, drops or tears what the crash model allows (`metadata-journal`, `power-loss`). Calls under way do
 *   not take place, and every handle from before answers `EIO`.
 * - A full disk takes what fits: a short write, then `ENOSPC`.
 * `fsync` of a file makes its data durable and not its name: that takes `syncDirectory` of the directory.
 */
import type {
  FileStat,
  FileSystem,
  FileSystemSpace,
  OpenFile,
  OpenMode,
} from '../../src/model/filesystem.js';
import { EPOCH_MS, type VirtualClock } from './clock.js';
import { DiskOpenFile } from './disk-file.js';
import type { Injector } from './injection.js';
import { statOf, targetOf, type Inode } from './inode.js';
import { InodeTree } from './inode-tree.js';
import type { CrashModel } from './metadata-journal.js';
import { attempt, deliver } from './outcome.js';
import { asDirectory, walk, type LastLink, type Place } from './path-walk.js';
import { ProcessFileSystem } from './process-filesystem.js';
import type { SimulatedProcess } from './process.js';
import type { Range, SeededRandom } from './random.js';
import { systemError } from './system-error.js';
import type { Trace } from './trace.js';

export interface DiskOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly trace: Trace;
  readonly capacityBytes?: number;
  readonly latencyMs?: Range;
}

const LATENCY_MS: Range = [0.01, 0.5];

export class SimulatedDisk {
  readonly tree: InodeTree;
  readonly #options: DiskOptions;
  #boot = 1;

  constructor(options: DiskOptions) {
    this.#options = options;
    const wallNs = (): bigint => BigInt(Math.floor((EPOCH_MS + options.clock.nowMs) * 1000)) * 1000n;
    this.tree = new InodeTree(wallNs, options.capacityBytes);
  }

  /** Counts power losses, from 1. */
  get boot(): number {
    return this.#boot;
  }

  fileSystem(process: SimulatedProcess, inject?: Injector): FileSystem {
    const { clock, trace } = this.#options;
    return new ProcessFileSystem(new DiskFileSystem(this, process), { process, clock, trace, inject });
  }

  /** The host's processes are the caller's to kill, before this. */
  powerLoss(model: CrashModel = this.#options.random.pick(['ordered', 'independent'])): void {
    const { clock, random, trace } = this.#options;
    this.#boot += 1;
    this.tree.powerLoss(model, random);
    trace.record({ timeMs: clock.nowMs, host: 'disk', site: 'power-loss', action: model, outcome: 'done' });
  }

  /** Applies an operation after the disk's latency, unless power fails first. */
  perform<T>(process: SimulatedProcess, apply: () => T): Promise<T> {
    const { clock, random, latencyMs } = this.#options;
    const boot = this.#boot;
    return new Promise((resolve, reject) => {
      clock.after(random.between(latencyMs ?? LATENCY_MS), () => {
        if (boot !== this.#boot || (!process.alive && random.chance(0.5))) return;
        deliver(attempt(apply), resolve, reject);
      });
    });
  }
}

class DiskFileSystem implements FileSystem {
  readonly #disk: SimulatedDisk;
  readonly #tree: InodeTree;
  readonly #process: SimulatedProcess;

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk;
    this.#tree = disk.tree;
    this.#process = process;
  }

  open(_site: string, path: string, mode: OpenMode, permissions = 0o600): Promise<OpenFile> {
    return this.#at(path, 'keep', ({ directory, name }) => {
      const inode =
        mode === 'read'
          ? this.#tree.find(directory, name)
          : this.#tree.create(directory, name, permissions, mode === 'create-exclusive');
      if (inode.kind === 'symlink') throw systemError('ELOOP');
      if (mode === 'create' && inode.kind === 'file') this.#tree.truncate(inode);
      return new DiskOpenFile(this.#disk, this.#process, inode, mode !== 'read');
    });
  }

  readdir(_site: string, path: string): Promise<string[]> {
    return this.#inode(path, 'follow', (inode) => [...asDirectory(inode).entries.keys()]);
  }

  lstat(_site: string, path: string): Promise<FileStat> {
    return this.#inode(path, 'keep', statOf);
  }

  readlink(_site: string, path: string): Promise<string> {
    return this.#inode(path, 'keep', targetOf);
  }

  symlink(_site: string, target: string, path: string): Promise<void> {
    return this.#at(path, 'keep', ({ directory, name }) => {
      this.#tree.symlink(directory, name, target);
    });
  }

  link(_site: string, existing: string, path: string): Promise<void> {
    return this.#at(existing, 'keep', (source) => {
      const inode = this.#tree.find(source.directory, source.name);
      const { directory, name } = this.#place(path, 'keep');
      this.#tree.link(inode, directory, name);
    });
  }

  rename(_site: string, from: string, to: string): Promise<void> {
    return this.#at(from, 'keep', (source) => {
      const target = this.#place(to, 'keep');
      this.#tree.rename(source.directory, source.name, target.directory, target.name);
    });
  }

  unlink(_site: string, path: string): Promise<void> {
    return this.#at(path, 'keep', ({ directory, name }) => {
      this.#tree.unlink(directory, name);
    });
  }

  mkdir(_site: string, path: string, permissions: number): Promise<void> {
    return this.#at(path, 'keep', ({ directory, name }) => {
      this.#tree.mkdir(directory, name, permissions);
    });
  }

  rmdir(_site: string, path: string): Promise<void> {
    return this.#at(path, 'keep', ({ directory, name }) => {
      this.#tree.rmdir(directory, name);
    });
  }

  chmod(_site: string, path: string, permissions: number): Promise<void> {
    return this.#inode(path, 'follow', (inode) => {
      this.#tree.setAttributes(inode, { mode: permissions });
    });
  }

  chown(_site: string, path: string, uid: number, gid: number): Promise<void> {
    return this.#inode(path, 'keep', (inode) => {
      this.#tree.setAttributes(inode, { uid, gid });
    });
  }

  syncDirectory(_site: string, path: string): Promise<void> {
    return this.#inode(path, 'follow', (inode) => {
      this.#tree.journal.syncDirectory(asDirectory(inode));
    });
  }

  statfs(_site: string, path: string): Promise<FileSystemSpace> {
    return this.#inode(path, 'follow', () => ({
      ...this.#tree.space(),
      kind: 'local' as const,
      mountOptions: [],
    }));
  }

  #inode<T>(path: string, lastLink: LastLink, apply: (inode: Inode) => T): Promise<T> {
    return this.#at(path, lastLink, ({ directory, name }) => apply(this.#tree.find(directory, name)));
  }

  #at<T>(path: string, lastLink: LastLink, apply: (place: Place) => T): Promise<T> {
    return this.#disk.perform(this.#process, () => apply(this.#place(path, lastLink)));
  }

  #place(path: string, lastLink: LastLink): Place {
    const steps = walk(this.#tree.root, path, lastLink);
    let step = steps.next();
    while (!step.done) step = steps.next(this.#tree.lookup(step.value.directory, step.value.name));
    return step.value;
  }
}
