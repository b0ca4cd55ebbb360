/**
 * journal: what this host knows of each domain across restarts: whether it holds the volume, and which slot and content it last
 * published or restored. One JSON file per domain in `<state_dir>/journal/`.
 *
 *   P1 write     the new record beside the old one, every byte counted; fsync, close
 *   P2 rename    over the old one
 *   P3 sync      the directory
 *
 * Every start and stop of a domain waits for two or three of these, so they take the calls that this needs and no more, where the records that are
 * seldom written are left to a library (`replace-file.ts`).
 *
 * I1 A record is the old one or the new one, whole, after any crash (P2 after P1).
 * I2 A write that resolved survives power loss.
 * I3 A damaged record is an error that names its file. It is never taken for "this host knows nothing": that would let an older state in.
 * Not guaranteed: order among concurrent writes of one domain's record; each domain has one writer, who holds its lock.
 */
import { MirrorError } from '../model/errors.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { writeDurable } from '../model/durable-file.js';
import { ensureDirectories, ifAny, lstatIfAny, namesIn, readRegular, UnfitFileError } from './files.js';
import { orHostError } from './host-error.js';
import type { HostContext } from './host-context.js';
import {
  damagedRecord,
  formatRecord,
  parseRecord,
  RECORD_BYTES_MAX,
  type JournalRecord,
} from './journal-record.js';
import { orFromReserve } from './reserve.js';

export interface JournalListing {
  readonly records: readonly JournalRecord[];
  /** `JOURNAL_DAMAGED`, one for each record that cannot be read; the other domains go on. */
  readonly damaged: readonly MirrorError[];
}

export interface Journal {
  /** @throws MirrorError `JOURNAL_DAMAGED`, `HOST_IO` */
  read(uuid: DomainUuid): Promise<JournalRecord | undefined>;
  /** Resolves when the record is durable. @throws MirrorError `HOST_IO` */
  write(record: JournalRecord): Promise<void>;
  /**
   * When the domain's record was written, by the clock of the disk's file system, ns; `undefined` when there is none.
   *
   * @throws MirrorError `HOST_IO`
   */
  writtenAtNs(uuid: DomainUuid): Promise<bigint | undefined>;
  /** @throws MirrorError `HOST_IO` */
  list(): Promise<JournalListing>;
}

/** What only the end of a domain needs. */
export interface ForgettingJournal extends Journal {
  /** Resolves when nothing of the domain is remembered. @throws MirrorError `HOST_IO` */
  remove(uuid: DomainUuid): Promise<void>;
}

const RECORD_SUFFIX = '.json';
/** Of a record that is being written. A domain has one writer, so that what a killed one left is in nobody's way. */
const NEW_SUFFIX = '.json.0';
/** What a killed write leaves; former versions of this program had another number at the end. */
const LEFTOVER = /^(.{36})\.json\.\d+$/;

export class FileJournal implements ForgettingJournal {
  readonly #context: Pick<HostContext, 'fs' | 'stateDirectory'>;
  /** Durably there, as far as this process knows. */
  #hasDirectory = false;

  constructor(context: Pick<HostContext, 'fs' | 'stateDirectory'>) {
    this.#context = context;
  }

  async read(uuid: DomainUuid): Promise<JournalRecord | undefined> {
    return orHostError(`read the journal of ${uuid}`, async () => {
      const path = this.#path(uuid);
      const data = await ifAny(() => this.#readFile(path));
      return data && parseRecord(path, uuid, data);
    });
  }

  async write(record: JournalRecord): Promise<void> {
    const data = formatRecord(record);
    await orHostError(`write the journal of ${record.uuid}`, async () => {
      try {
        await orFromReserve(this.#context, () => this.#replace(record.uuid, data));
      } catch (error) {
        // The directory itself may have gone.
        this.#hasDirectory = false;
        throw error;
      }
    });
  }

  async writtenAtNs(uuid: DomainUuid): Promise<bigint | undefined> {
    return orHostError(`read the journal of ${uuid}`, async () => {
      const stat = await lstatIfAny(this.#context.fs, 'journal:lstat', this.#path(uuid));
      return stat?.mtimeNs;
    });
  }

  async list(): Promise<JournalListing> {
    const records: JournalRecord[] = [];
    const damaged: MirrorError[] = [];
    for (const name of await this.#names()) {
      const uuid = name.slice(0, -RECORD_SUFFIX.length);
      if (!name.endsWith(RECORD_SUFFIX) || !isDomainUuid(uuid)) continue;
      try {
        const record = await this.read(uuid);
        if (record) records.push(record);
      } catch (error) {
        if (!(error instanceof MirrorError) || error.code !== 'JOURNAL_DAMAGED') throw error;
        damaged.push(error);
      }
    }
    return { records, damaged };
  }

  async remove(uuid: DomainUuid): Promise<void> {
    await orHostError(`remove the journal of ${uuid}`, async () => {
      await ifAny(() => this.#context.fs.unlink('journal:unlink', this.#path(uuid)));
      await ifAny(() => this.#context.fs.syncDirectory('journal:sync', this.#directory));
    });
  }

  /**
   * Removes temporary files of writes that were killed. Only while no other process writes the journal.
   *
   * @throws MirrorError `HOST_IO`
   */
  async sweep(): Promise<void> {
    await orHostError('sweep the journal', async () => {
      for (const name of await this.#names()) {
        if (LEFTOVER.test(name)) await this.#context.fs.unlink('journal:sweep', `${this.#directory}/${name}`);
      }
    });
  }

  async #ensureDirectory(): Promise<void> {
    if (this.#hasDirectory) return;
    await ensureDirectories(this.#context.fs, 'journal', this.#context.stateDirectory, 'journal');
    this.#hasDirectory = true;
  }

  /** P1 to P3. */
  async #replace(uuid: DomainUuid, data: Uint8Array): Promise<void> {
    const { fs } = this.#context;
    await this.#ensureDirectory();
    const temporary = `${this.#directory}/${uuid}${NEW_SUFFIX}`;
    await writeDurable(fs, 'journal', temporary, data, 'create');
    await fs.rename('journal:rename', temporary, this.#path(uuid));
    await fs.syncDirectory('journal:sync', this.#directory);
  }

  get #directory(): string {
    return `${this.#context.stateDirectory}/journal`;
  }

  #path(uuid: DomainUuid): string {
    return `${this.#directory}/${uuid}${RECORD_SUFFIX}`;
  }

  #names(): Promise<string[]> {
    return orHostError('list the journal', () =>
      namesIn(this.#context.fs, 'journal:readdir', this.#directory),
    );
  }

  async #readFile(path: string): Promise<Uint8Array> {
    try {
      return (await readRegular(this.#context.fs, 'journal', path, RECORD_BYTES_MAX)).data;
    } catch (error) {
      throw error instanceof UnfitFileError ? damagedRecord(path, `it is ${error.message}`) : error;
    }
  }
}
