/**
 * metadata-journal: which directory entries a power loss leaves. Every change of entries is one operation (a rename across directories too, as in
 * a journalled file system), pending until a directory was synced.
 *
 * Two models of what an unsynced disk keeps:
 * - `ordered`, as ext4: operations reach the disk in their order, so a prefix of them survives; syncing any directory commits all before it.
 * - `independent`, as POSIX at its worst: each unsynced operation is kept or dropped on its own; syncing a directory commits those that touched it.
 *
 * I1 What survives is a replay, in order, of a subset of the operations on the last durable state.
 */
import type { DirectoryInode, Inode } from './inode.js';
import type { SeededRandom } from './random.js';

export type CrashModel = 'ordered' | 'independent';

/** `name` in `directory` becomes `inode`, or is removed. */
export interface EntryChange {
  readonly directory: DirectoryInode;
  readonly name: string;
  readonly inode: Inode | undefined;
}

interface Operation {
  readonly changes: readonly EntryChange[];
  /** Durable under the ordered model. */
  committed: boolean;
  /** Durable under both models. */
  synced: boolean;
}

export class MetadataJournal {
  #pending: Operation[] = [];

  record(changes: readonly EntryChange[]): void {
    this.#pending.push({ changes, committed: false, synced: false });
  }

  syncDirectory(directory: DirectoryInode): void {
    for (const operation of this.#pending) {
      operation.committed = true;
      operation.synced ||= operation.changes.some((change) => change.directory === directory);
    }
    this.#retire();
  }

  /** Everything so far becomes durable, as after `sync`. */
  syncAll(): void {
    for (const operation of this.#pending.splice(0)) apply(operation);
  }

  /** Brings `durableEntries` to what the disk holds after a power loss. */
  powerLoss(model: CrashModel, random: SeededRandom): void {
    const pending = this.#pending.splice(0);
    if (model === 'independent') {
      for (const operation of pending) if (operation.synced || random.chance(0.5)) apply(operation);
      return;
    }
    const committed = pending.filter((operation) => operation.committed).length;
    const kept = random.int(committed, pending.length);
    for (const operation of pending.slice(0, kept)) apply(operation);
  }

  /** Only leading operations are applied early, so that the replay keeps its order. */
  #retire(): void {
    let retired = 0;
    for (const operation of this.#pending) {
      if (!operation.synced) break;
      apply(operation);
      retired += 1;
    }
    this.#pending.splice(0, retired);
  }
}

function apply(operation: Operation): void {
  for (const { directory, name, inode } of operation.changes) {
    if (inode) directory.durableEntries.set(name, inode);
    else directory.durableEntries.delete(name);
  }
}
