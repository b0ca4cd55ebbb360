/**
 * share-watch: follows every change of names on the share where it happens, below all caches, and holds it to the rules that need no history of who
 * was told what:
 *
 *   a slot once taken keeps its payload, and goes only when it is below the epoch of the head (G3, G4)
 *   a publish names a whole archive of a state that a TPM wrote, for as long as it counts and is not pruned (G1, G6)
 *   the head never loses what a head before it had (G4)
 *   no volume and no part of one is removed (G7)
 */
import { parseGenerationName } from '../../src/model/generation-name.js';
import { readBundle, type ReadBundle, type ReadNvram } from './bundle-reader.js';
import type { DirectoryInode, Inode } from './inode.js';
import type { InodeTree } from './inode-tree.js';
import {
  EMPTY_LOG,
  parseSlotEntry,
  viewLog,
  type LogView,
  type MachineOf,
  type SlotEntry,
} from './log-view.js';
import { contains, describeState, type TpmLedger, type TpmState } from './tpm.js';
import { Violation, type Guarantee } from './violation.js';

export interface WatchedVolume {
  readonly uuid: string;
  readonly parts: Map<string, DirectoryInode>;
  readonly entries: Map<number, SlotEntry>;
  view: LogView;
  /** Below this slot everything was pruned: what comes there later means nothing. */
  prunedBelow: number;
  /** Generations that were removed in order: a crash may bring any of them back. */
  readonly prunedFiles: Set<string>;
}

export interface ShareListener {
  /** Whether an operator is choosing the domain's state just now, or has chosen it. */
  mayBeChosen(uuid: string): boolean;
  fail(violation: Violation): void;
  /** An entry came to stand in the log. @param before the log without it */
  appended(volume: WatchedVolume, entry: SlotEntry, before: LogView): void;
}

export interface ShareWatchOptions {
  readonly tree: InodeTree;
  /** Path of the share's root in the tree. */
  readonly root: string;
  readonly ledger: TpmLedger;
  readonly nowMs: () => number;
  readonly machineOf: MachineOf;
  readonly listener: ShareListener;
}

const SLOT = /^\d{8}$/;
const PARTS = ['log', 'gen', 'diverged', 'pins'];
/** Copies beside the generations: nothing that a log names. */
const COPIES = ['diverged', 'pins'];

export class ShareWatch {
  readonly #options: ShareWatchOptions;
  readonly #volumes = new Map<string, WatchedVolume>();
  readonly #places = new Map<DirectoryInode, (name: string, inode: Inode | undefined) => void>();
  readonly #states = new WeakMap<Uint8Array, { state: TpmState | undefined }>();

  constructor(options: ShareWatchOptions) {
    this.#options = options;
    options.tree.observer = (changes) => {
      try {
        for (const { directory, name, inode } of changes) this.#places.get(directory)?.(name, inode);
        if (this.#places.size === 0 && changes.some(({ name }) => name === 'volumes')) this.resync();
      } catch (error) {
        // Thrown further, a fault of the oracle would look like a fault of the file system.
        options.listener.fail(
          new Violation('program', error instanceof Error ? (error.stack ?? '') : String(error)),
        );
      }
    };
    this.resync();
  }

  get volumes(): readonly WatchedVolume[] {
    return [...this.#volumes.values()];
  }

  volume(uuid: string): WatchedVolume | undefined {
    return this.#volumes.get(uuid);
  }

  /** Reads everything anew: a crash takes back what was not durable. */
  resync(): void {
    this.#places.clear();
    const before = new Map(this.#volumes);
    this.#volumes.clear();
    const volumes = this.#find(`${this.#options.root}/volumes`);
    if (volumes?.kind !== 'directory') return;
    this.#places.set(volumes, (name, inode) => {
      this.#onVolume(name, inode);
    });
    for (const [uuid, inode] of volumes.entries) this.#addVolume(uuid, inode, before.get(uuid));
    for (const volume of this.volumes) this.check(volume);
  }

  /** That every publish which counts, and is not pruned, is whole. */
  check(volume: WatchedVolume): void {
    for (const entry of volume.view.published) {
      const mayBeMissing = volume.prunedFiles.has(entry.file) && !this.#archive(volume, entry.file);
      if (!mayBeMissing) this.#expectWhole(volume, entry);
    }
  }

  /** The state in an archive, `undefined` when it is not whole or not a state that any TPM wrote. */
  stateIn(archive: Uint8Array): TpmState | undefined {
    let known = this.#states.get(archive);
    if (!known) {
      const bundle = readBundle(archive);
      known = { state: bundle && this.#options.ledger.stateOf(bundle.permall) };
      this.#states.set(archive, known);
    }
    return known.state;
  }

  stateOfEntry(volume: WatchedVolume, entry: SlotEntry | undefined): TpmState | undefined {
    const archive = entry && this.#archive(volume, entry.file);
    return archive && this.stateIn(archive);
  }

  /** Whether an operator chose what is published here. */
  isChosen(volume: WatchedVolume, entry: SlotEntry): boolean {
    return (
      this.bundleOf(volume, entry)?.reason === 'resolve' && this.#options.listener.mayBeChosen(volume.uuid)
    );
  }

  headState(volume: WatchedVolume | undefined): TpmState | undefined {
    return volume && this.stateOfEntry(volume, volume.view.head);
  }

  bundleOf(volume: WatchedVolume, entry: SlotEntry): ReadBundle | undefined {
    const archive = this.#archive(volume, entry.file);
    return archive && readBundle(archive);
  }

  /** States kept beside the head: diverged copies, snapshots, and publishes that lost. */
  keptStates(volume: WatchedVolume): TpmState[] {
    const copies = COPIES.flatMap((part) => [...(volume.parts.get(part)?.entries ?? [])]);
    const archives = copies.flatMap(([name, inode]) =>
      inode.kind === 'file' && !name.startsWith('.') ? [inode.data] : [],
    );
    for (const entry of volume.view.run) {
      const archive = entry.kind === 'publish' ? this.#archive(volume, entry.file) : undefined;
      if (archive) archives.push(archive);
    }
    return archives.map((archive) => this.stateIn(archive)).filter((state) => state !== undefined);
  }

  #find(path: string): Inode | undefined {
    let at: Inode | undefined = this.#options.tree.root;
    for (const name of path.split('/').filter(Boolean)) {
      at = at?.kind === 'directory' ? at.entries.get(name) : undefined;
    }
    return at;
  }

  #fail(guarantee: Guarantee, volume: WatchedVolume, what: string): void {
    this.#options.listener.fail(new Violation(guarantee, `volume ${volume.uuid.slice(0, 8)}: ${what}`));
  }

  #onVolume(uuid: string, inode: Inode | undefined): void {
    const known = this.#volumes.get(uuid);
    if (inode) this.#addVolume(uuid, inode, undefined);
    else if (known) this.#fail('G7', known, 'it was removed');
  }

  #addVolume(uuid: string, inode: Inode, known: WatchedVolume | undefined): void {
    if (inode.kind !== 'directory') return;
    const volume: WatchedVolume = {
      uuid,
      parts: new Map(),
      entries: new Map(),
      view: EMPTY_LOG,
      // What a crash brings back of a log's bottom, and what arrives late there, still means nothing.
      prunedBelow: known?.prunedBelow ?? 0,
      prunedFiles: known?.prunedFiles ?? new Set(),
    };
    this.#volumes.set(uuid, volume);
    this.#places.set(inode, (name, part) => {
      this.#onPart(volume, name, part);
    });
    for (const [name, part] of inode.entries) this.#onPart(volume, name, part);
    const slots = [...(volume.parts.get('log')?.entries ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [name, slot] of slots) {
      if (slot.kind !== 'symlink' || !SLOT.test(name)) continue;
      const seen = known?.entries.get(Number(name));
      const atMs = seen?.payload === slot.target ? seen.atMs : this.#options.nowMs();
      volume.entries.set(Number(name), this.#parse(volume, Number(name), slot.target, atMs));
    }
    volume.view = viewLog(volume.entries);
  }

  #parse({ entries }: WatchedVolume, slot: number, payload: string, atMs: number): SlotEntry {
    const { machineOf } = this.#options;
    return parseSlotEntry(slot, payload, atMs, { machineOf, claimAt: (epoch) => entries.get(epoch) });
  }

  #onPart(volume: WatchedVolume, name: string, inode: Inode | undefined): void {
    if (!PARTS.includes(name)) return;
    if (inode?.kind !== 'directory') {
      this.#fail('G7', volume, `${name}/ was removed`);
      return;
    }
    volume.parts.set(name, inode);
    if (COPIES.includes(name)) return;
    this.#places.set(inode, (child, its) => {
      if (name === 'log') this.#onSlot(volume, child, its);
      else this.#onGeneration(volume, child, its);
    });
  }

  #onSlot(volume: WatchedVolume, name: string, inode: Inode | undefined): void {
    if (!SLOT.test(name)) return;
    const slot = Number(name);
    const known = volume.entries.get(slot);
    if (!inode) {
      this.#onSlotRemoved(volume, slot);
      return;
    }
    if (inode.kind !== 'symlink') {
      this.#fail('G3', volume, `slot ${slot} is a ${inode.kind}`);
      return;
    }
    if (known && known.payload !== inode.target) {
      this.#fail('G3', volume, `slot ${slot} was replaced: ${known.payload} by ${inode.target}`);
    }
    const before = volume.view;
    const entry = this.#parse(volume, slot, inode.target, this.#options.nowMs());
    volume.entries.set(slot, entry);
    volume.view = viewLog(volume.entries);
    if (entry.kind === 'publish') this.#onPublish(volume, entry, before);
    this.#options.listener.appended(volume, entry, before);
  }

  #onSlotRemoved(volume: WatchedVolume, slot: number): void {
    const { view } = volume;
    const bottom = view.run.find((entry) => entry.slot >= volume.prunedBelow)?.slot ?? 0;
    if (slot > bottom || (slot === bottom && slot >= (view.head?.epoch ?? 0))) {
      this.#fail(
        'G4',
        volume,
        `slot ${slot} was removed from a log of ${bottom} to ${view.run.at(-1)?.slot ?? 0}`,
      );
    }
    volume.prunedBelow = Math.max(volume.prunedBelow, slot + 1);
    volume.entries.delete(slot);
    volume.view = viewLog(volume.entries);
  }

  #onPublish(volume: WatchedVolume, entry: SlotEntry, before: LogView): void {
    // One that arrives late, below the log's bottom or in a closed epoch, means nothing.
    if (!volume.view.published.includes(entry)) return;
    this.#expectWhole(volume, entry);
    if (volume.view.head !== entry) return;
    const older = this.stateOfEntry(volume, before.head);
    const newer = this.stateOfEntry(volume, entry);
    if (!older || !newer || contains(newer, older) || this.isChosen(volume, entry)) return;
    this.#fail('G4', volume, `the head went from ${describeState(older)} to ${describeState(newer)}`);
  }

  /** Slots of generations in which others, of fenced hosts too, have their parts: pruning passes them over. */
  #neededForParts(volume: WatchedVolume): ReadonlySet<number> {
    const names = ['gen', 'diverged'].flatMap((part) => [...(volume.parts.get(part)?.entries.keys() ?? [])]);
    return new Set(names.flatMap((name) => parseGenerationName(name)?.partsIn ?? []));
  }

  #onGeneration(volume: WatchedVolume, name: string, inode: Inode | undefined): void {
    const entry = volume.view.published.find(({ file }) => file === name);
    if (!entry) return;
    if (inode) {
      this.#expectWhole(volume, entry);
      return;
    }
    const { head, published } = volume.view;
    const gen = volume.parts.get('gen');
    const needed = this.#neededForParts(volume);
    const isLowest = !published.some(
      ({ slot, epoch, file }) => epoch < entry.epoch && gen?.entries.has(file) && !needed.has(slot),
    );
    if (entry.epoch === head?.epoch || !isLowest) {
      this.#fail('G1', volume, `generation ${entry.slot} was removed, the head is ${head?.slot ?? 0}`);
    }
    volume.prunedFiles.add(name);
    for (const directory of ['gen', 'diverged']) this.#expectNotNeeded(volume, directory, name);
  }

  /** What was removed holds the variables of nothing that is there. */
  #expectNotNeeded(volume: WatchedVolume, directory: string, removed: string): void {
    for (const [name, inode] of volume.parts.get(directory)?.entries ?? []) {
      const isNeeded =
        inode.kind === 'file' && !name.startsWith('.') && readBundle(inode.data)?.nvram?.in === removed;
      if (isNeeded) this.#fail('G1', volume, `${removed} was removed, where ${name} has its NVRAM`);
    }
  }

  #archive(volume: WatchedVolume, file: string): Uint8Array | undefined {
    const inode = volume.parts.get('gen')?.entries.get(file);
    return inode?.kind === 'file' ? inode.data : undefined;
  }

  #expectWhole(volume: WatchedVolume, entry: SlotEntry): void {
    const archive = this.#archive(volume, entry.file);
    const bundle = archive && readBundle(archive);
    if (!bundle) {
      const what = archive ? `is torn (${archive.length} bytes)` : 'is missing';
      this.#fail('G1', volume, `the archive of slot ${entry.slot} ${what}`);
    } else if (!this.stateIn(archive)) {
      this.#fail('G6', volume, `slot ${entry.slot} holds what no TPM wrote`);
    } else if (bundle.host !== entry.label || bundle.slot !== entry.slot || bundle.epoch !== entry.epoch) {
      this.#fail('G1', volume, `the archive of slot ${entry.slot} belongs elsewhere`);
    } else {
      this.#expectNvram(volume, entry, bundle.nvram);
    }
  }

  #expectNvram(volume: WatchedVolume, { slot }: SlotEntry, nvram: ReadNvram | undefined): void {
    if (!nvram || nvram.isHere) return;
    const archive = nvram.in === undefined ? undefined : this.#archive(volume, nvram.in);
    const held = archive && readBundle(archive)?.nvram;
    if (held?.isHere && held.sha256 === nvram.sha256) return;
    this.#fail('G1', volume, `the NVRAM of slot ${slot} is not in ${nvram.in ?? 'it'}`);
  }
}
