/**
 * spool: captures that are not on the share yet, kept durably on this host as bundles, so that an outage of the share or the loss
 * of a volume never costs a state.
 *
 *   <state_dir>/spool/<uuid>/<sequence>-<digest>-<nonce>.tar.gz
 *
 *   P1 write tmp    under a name that nothing reads; fsync, close, byte count checked
 *   P2 rename       to its final name
 *   P3 sync         the directory: the put is durable
 *   P4 supersede    older entries of the domain go; only after P3
 *
 * I1 A put that resolved survives power loss.
 * I2 At every moment the newest capture that was put, or the one before it, is there whole (P4 after P3).
 *    A superseded entry never comes back as the newest: `remove` takes the older ones first.
 * I3 An entry that does not decode is reported and passed over, never deleted by a reader.
 * I4 All entries together have at most `spoolBytesMax` bytes, plus one entry while it supersedes another.
 * Not guaranteed: anything when two processes put for one domain at once; the caller holds the domain's lock.
 */
import { BUNDLE_BYTES_MAX, decodeBundle, encodeBundle } from '../bundle/archive.js';
import type { Manifest } from '../bundle/manifest.js';
import type { Capture } from '../model/capture.js';
import { errnoOf, invariant, MirrorError, type ErrorCode } from '../model/errors.js';
import { DIGEST_PREFIX_DIGITS } from '../model/generation-name.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { ByteBudget } from './byte-budget.js';
import {
  ensureDirectories,
  ifAny,
  lstatIfAny,
  namesIn,
  readRegular,
  UnfitFileError,
  writeNewFile,
} from './files.js';
import { orHostError } from './host-error.js';
import { TEMPORARY_PREFIX, type HostContext } from './host-context.js';
import { orFromReserve } from './reserve.js';
import { formatSpoolName, parseSpoolName, type SpoolName } from './spool-name.js';

export interface SpoolEntry {
  readonly uuid: DomainUuid;
  readonly name: string;
  readonly bytes: number;
  /** By this host's clock: for display only. */
  readonly writtenAtMs: number;
}

export interface SpooledBundle {
  readonly name: string;
  readonly manifest: Manifest;
  readonly capture: Capture;
}

export interface DamagedEntry {
  readonly name: string;
  readonly error: MirrorError;
}

export interface SpoolPeek {
  /** The newest entry that decodes. */
  readonly newest: SpooledBundle | undefined;
  /** Entries newer than that one, which do not. */
  readonly damaged: readonly DamagedEntry[];
}

/** What `peek` passes over: the entry itself is at fault, or of a later version. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['GENERATION_DAMAGED', 'SHARE_VERSION']);

export class Spool {
  readonly #context: HostContext;
  readonly #budget: ByteBudget;

  constructor(context: HostContext, options: { readonly spoolBytesMax: number }) {
    this.#context = context;
    this.#budget = new ByteBudget(options.spoolBytesMax, async () =>
      (await this.list()).reduce((sum, entry) => sum + entry.bytes, 0),
    );
  }

  /**
   * Keeps a capture until it is published, in place of the one kept for this domain before.
   *
   * @returns the entry's name
   * @throws MirrorError `SPOOL_FULL`, `HOST_IO`; the older entry stays
   */
  async put(manifest: Manifest, capture: Capture): Promise<string> {
    const older = await this.#prepare(capture.uuid);
    const name = await this.#add(older, manifest, capture);
    await this.#removeAll(capture.uuid, older);
    return name;
  }

  /** @throws MirrorError `HOST_IO` */
  async peek(uuid: DomainUuid): Promise<SpoolPeek> {
    const damaged: DamagedEntry[] = [];
    for (const entry of [...(await this.#names(uuid))].reverse()) {
      const name = formatSpoolName(entry);
      try {
        return { newest: await this.read(uuid, name), damaged };
      } catch (error) {
        if (!(error instanceof MirrorError) || !UNREADABLE.has(error.code)) throw error;
        damaged.push({ name, error });
      }
    }
    return { newest: undefined, damaged };
  }

  /** @throws MirrorError `GENERATION_DAMAGED`, `SHARE_VERSION` (written by a later version), `HOST_IO` */
  async read(uuid: DomainUuid, name: string): Promise<SpooledBundle> {
    const path = this.#path(uuid, name);
    const data = await orHostError(`read ${path}`, async () => {
      try {
        return (await readRegular(this.#context.fs, 'spool-read', path, BUNDLE_BYTES_MAX)).data;
      } catch (error) {
        throw error instanceof UnfitFileError ? damagedEntry(path, `it is ${error.message}`) : error;
      }
    });
    const { manifest, capture } = await decodeBundle(data);
    if (capture.uuid !== uuid) throw damagedEntry(path, `it holds the state of ${capture.uuid}`);
    return { name, manifest, capture };
  }

  /**
   * Removes an entry, and those that it superseded.
   *
   * @throws MirrorError `HOST_IO`
   */
  async remove(uuid: DomainUuid, name: string): Promise<void> {
    const entry = parseSpoolName(name);
    invariant(entry !== undefined, 'only an entry of the spool is removed from it');
    const superseded = (await this.#names(uuid)).filter((other) => other.sequence < entry.sequence);
    await this.#removeAll(uuid, [...superseded, entry]);
    await orHostError(`remove the empty spool of ${uuid}`, () => this.#removeIfEmpty(uuid));
  }

  /** @throws MirrorError `HOST_IO` */
  async list(): Promise<SpoolEntry[]> {
    return orHostError('list the spool', async () => {
      const { fs } = this.#context;
      const entries: SpoolEntry[] = [];
      for (const uuid of await namesIn(fs, 'spool-list:readdir', this.#root)) {
        if (!isDomainUuid(uuid)) continue;
        for (const entry of await this.#names(uuid)) {
          const name = formatSpoolName(entry);
          const stat = await lstatIfAny(fs, 'spool-list:lstat', this.#path(uuid, name));
          if (!stat) continue;
          const writtenAtMs = Number(stat.mtimeNs / 1_000_000n);
          entries.push({ uuid, name, bytes: stat.size, writtenAtMs });
        }
      }
      return entries;
    });
  }

  /**
   * Removes what an interrupted put of this domain left. The caller holds the domain's lock.
   *
   * @throws MirrorError `HOST_IO`
   */
  async sweep(uuid: DomainUuid): Promise<void> {
    await orHostError(`sweep the spool of ${uuid}`, async () => {
      const { fs } = this.#context;
      for (const name of await namesIn(fs, 'spool-sweep:readdir', this.#directory(uuid))) {
        if (!name.startsWith(TEMPORARY_PREFIX)) continue;
        await fs.unlink('spool-sweep:unlink', `${this.#directory(uuid)}/${name}`);
      }
    });
  }

  get #root(): string {
    return `${this.#context.stateDirectory}/spool`;
  }

  #directory(uuid: DomainUuid): string {
    return `${this.#root}/${uuid}`;
  }

  #path(uuid: DomainUuid, name: string): string {
    invariant(parseSpoolName(name) !== undefined, "a path in the spool is made of an entry's name");
    return `${this.#directory(uuid)}/${name}`;
  }

  /** The domain's entries, oldest first. */
  async #names(uuid: DomainUuid): Promise<SpoolName[]> {
    const names = await orHostError(`list the spool of ${uuid}`, () =>
      namesIn(this.#context.fs, 'spool:readdir', this.#directory(uuid)),
    );
    return names
      .map(parseSpoolName)
      .filter((name) => name !== undefined)
      .sort((a, b) => a.sequence - b.sequence);
  }

  /** Makes the domain's directory and clears it of leftovers. */
  async #prepare(uuid: DomainUuid): Promise<SpoolName[]> {
    const { fs, stateDirectory } = this.#context;
    await orHostError(`make the spool of ${uuid}`, () =>
      orFromReserve(this.#context, () => ensureDirectories(fs, 'spool', stateDirectory, 'spool', uuid)),
    );
    await this.sweep(uuid);
    return this.#names(uuid);
  }

  async #add(superseded: readonly SpoolName[], manifest: Manifest, capture: Capture): Promise<string> {
    const { uuid } = capture;
    const bundle = await encodeBundle(manifest, capture);
    const sequence = Math.max(0, ...superseded.map((name) => name.sequence)) + 1;
    const nonce = this.#context.random.hex(8);
    const name = formatSpoolName({ sequence, digestPrefix: digestPrefixOf(capture), nonce });
    const action = `spool the state of ${uuid}`;
    const freed = await orHostError(action, () => this.#bytesOf(uuid, superseded));
    await this.#budget.spend(
      bundle.length,
      freed,
      (stored) => spoolFull(uuid, bundle.length, stored, this.#budget.bytesMax),
      () => orHostError(action, () => orFromReserve(this.#context, () => this.#write(uuid, name, bundle))),
    );
    return name;
  }

  async #write(uuid: DomainUuid, name: string, bundle: Uint8Array): Promise<void> {
    const { fs } = this.#context;
    const temporary = `${this.#directory(uuid)}/${TEMPORARY_PREFIX}${name}`;
    try {
      await writeNewFile(fs, 'spool', temporary, bundle);
      await fs.rename('spool:rename', temporary, this.#path(uuid, name));
    } catch (error) {
      // The failure above is the one to report; what stays is swept by the next put.
      await fs.unlink('spool:unlink-tmp', temporary).catch(() => undefined);
      throw error;
    }
    await fs.syncDirectory('spool:sync', this.#directory(uuid));
  }

  async #bytesOf(uuid: DomainUuid, names: readonly SpoolName[]): Promise<number> {
    let bytes = 0;
    for (const name of names) {
      const path = this.#path(uuid, formatSpoolName(name));
      bytes += (await lstatIfAny(this.#context.fs, 'spool:lstat', path))?.size ?? 0;
    }
    return bytes;
  }

  /** Oldest first, so that no crash leaves a superseded entry as the newest. */
  async #removeAll(uuid: DomainUuid, names: readonly SpoolName[]): Promise<void> {
    if (names.length === 0) return;
    await orHostError(`remove spooled state of ${uuid}`, async () => {
      const { fs } = this.#context;
      for (const name of names) {
        const path = this.#path(uuid, formatSpoolName(name));
        const bytes = await this.#bytesOf(uuid, [name]);
        await ifAny(() => fs.unlink('spool-remove:unlink', path));
        this.#budget.giveBack(bytes);
      }
      await ifAny(() => fs.syncDirectory('spool-remove:sync', this.#directory(uuid)));
    });
  }

  async #removeIfEmpty(uuid: DomainUuid): Promise<void> {
    try {
      await this.#context.fs.rmdir('spool-remove:rmdir', this.#directory(uuid));
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
    }
  }
}

function digestPrefixOf(capture: Capture): string {
  return capture.digest.slice(0, DIGEST_PREFIX_DIGITS);
}

function damagedEntry(path: string, fault: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot read ${path}: ${fault}`, {
    next: 'nothing to do if a newer state of the domain was published; otherwise keep the file and look at it',
  });
}

function spoolFull(uuid: DomainUuid, bytes: number, bytesOnDisk: number, bytesMax: number): MirrorError {
  return new MirrorError(
    'SPOOL_FULL',
    `cannot spool ${bytes} bytes of state of ${uuid}: the spool holds ${bytesOnDisk} of at most ${bytesMax} bytes`,
    {
      next: 'bring the share back so that the spool empties, or resolve diverged copies with `swtpm-mirror resolve`',
    },
  );
}
