/**
 * nfs-cache: what one host's NFS client believes without asking.
 *
 * - Names, absent ones too, are believed for as long as the directory is (`namesMs`); then the next look-up asks, and if the directory has changed
 *   meanwhile everything known of it is forgotten.
 * - A listing asks always. So does every change that this host makes: if the directory changed for another reason too, its names are forgotten.
 * - Attributes are believed for `attributesMs`; opening a file fetches them anew.
 */
import type { FileStat } from '../../src/model/filesystem.js';
import type { VirtualClock } from './clock.js';
import type { FaultProfile } from './fault-profile.js';
import type { DirectoryInode, Inode } from './inode.js';
import type { Place } from './path-walk.js';
import type { SeededRandom } from './random.js';

export interface CachedName {
  readonly inode: Inode | undefined;
}

/** A directory's change attribute before and after an operation, as the server saw it. */
export interface ChangeInfo {
  readonly before: number;
  readonly after: number;
}

interface DirectoryView {
  change: number;
  believedUntilMs: number;
  readonly names: Map<string, CachedName>;
}

export class ClientCache {
  readonly #clock: VirtualClock;
  readonly #random: SeededRandom;
  readonly #faults: () => FaultProfile;
  #directories = new Map<DirectoryInode, DirectoryView>();
  #attributes = new Map<Inode, { readonly stat: FileStat; readonly untilMs: number }>();

  constructor(clock: VirtualClock, random: SeededRandom, faults: () => FaultProfile) {
    this.#clock = clock;
    this.#random = random;
    this.#faults = faults;
  }

  clear(): void {
    this.#directories.clear();
    this.#attributes.clear();
  }

  /** What is believed of a name; undefined when the server has to be asked. */
  name({ directory, name }: Place): CachedName | undefined {
    if (name === '') return { inode: directory };
    const view = this.#directories.get(directory);
    return view && this.#clock.nowMs < view.believedUntilMs ? view.names.get(name) : undefined;
  }

  /** The last known inode of a name, believed or not: whose open file a removal would hit. */
  lastKnown({ directory, name }: Place): Inode | undefined {
    return this.#directories.get(directory)?.names.get(name)?.inode;
  }

  /** A look-up answered, in a directory that had this change attribute. */
  looked(place: Place, inode: Inode | undefined, change: number): void {
    const view = this.#directories.get(place.directory);
    // Inside the time of belief the answer says nothing of the other names, as a real LOOKUP does not.
    if (!view || this.#clock.nowMs >= view.believedUntilMs) this.listed(place.directory, change);
    // From before a change of this host's own: there the kernel's lock on the directory lets no look-up and no change overlap.
    else if (change < view.change) return;
    this.setName(place, inode);
  }

  /** The directory's change attribute was fetched. */
  listed(directory: DirectoryInode, change: number): void {
    const view = this.#view(directory);
    if (view.change !== change) view.names.clear();
    view.change = change;
    view.believedUntilMs = this.#clock.nowMs + this.#random.between(this.#faults().namesMs);
  }

  /** This host changed the directory. */
  changed(directory: DirectoryInode, { before, after }: ChangeInfo): void {
    const view = this.#view(directory);
    if (view.change !== before) view.names.clear();
    view.change = after;
    view.believedUntilMs = this.#clock.nowMs + this.#random.between(this.#faults().namesMs);
  }

  setName({ directory, name }: Place, inode: Inode | undefined): void {
    this.#view(directory).names.set(name, { inode });
  }

  forgetName({ directory, name }: Place): void {
    this.#directories.get(directory)?.names.delete(name);
  }

  attributes(inode: Inode): FileStat | undefined {
    const known = this.#attributes.get(inode);
    return known && this.#clock.nowMs < known.untilMs ? known.stat : undefined;
  }

  setAttributes(inode: Inode, stat: FileStat): void {
    const untilMs = this.#clock.nowMs + this.#random.between(this.#faults().attributesMs);
    this.#attributes.set(inode, { stat, untilMs });
  }

  #view(directory: DirectoryInode): DirectoryView {
    let view = this.#directories.get(directory);
    if (!view) {
      this.#directories.set(directory, (view = { change: -1, believedUntilMs: 0, names: new Map() }));
    }
    return view;
  }
}
