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
import * as z from 'zod';
import { invariant, MirrorError } from '../model/errors.js';
import { SLOT_MAX, type Slot } from '../model/generation-name.js';
import { isDomainUuid, isHostName, type DomainUuid, type HostName } from '../model/identifiers.js';
import type { TakeOver } from '../model/take-over.js';
import { writeDurable } from '../model/durable-file.js';
import { ensureDirectories, ifAny, namesIn, readRegular, UnfitFileError } from './files.js';
import { orHostError } from './host-error.js';
import type { HostContext } from './host-context.js';
import { orFromReserve } from './reserve.js';

/**
 * `arrived` runs, or has run: it came by migration, and the volume is not claimed yet. The others have stopped: `finishing` with a final state to
 * be read and stored, `leaving` (its start failed) and `handed-over` (it went to another host) with none, but with a claim to be given back.
 * `away` is at rest, and its newest state went to another host.
 */
export const DOMAIN_PHASES = [
  'stopped',
  'away',
  'finishing',
  'leaving',
  'handed-over',
  'prepared',
  'incoming',
  'arrived',
  'running',
] as const;
export type DomainPhase = (typeof DOMAIN_PHASES)[number];

const FORMAT = 1;

export interface JournalRecord {
  readonly format: typeof FORMAT;
  readonly uuid: DomainUuid;
  readonly name: string;
  /** libvirt's own hook prepared the present run. */
  readonly byHook: boolean;
  /** The share that the slots below belong to. */
  readonly shareId: string | null;
  readonly phase: DomainPhase;
  /** Boot of this host in which the domain was in that phase; '' when a former version of this program wrote the record. */
  readonly runBootId: string;
  /** Slot of the claim held, or last held, by this host; 0 for none. */
  readonly epoch: Slot;
  readonly holding: boolean;
  /** Whether a claim of this host may be under way of which nobody has heard. */
  readonly claiming: boolean;
  /** Last slot that this host published or restored; 0 for none. */
  readonly slot: Slot;
  /** Content digest at that slot. */
  readonly digest: string | null;
  /** When that was stored, RFC 3339 UTC; `null` when it is not known: for display only. */
  readonly publishedAt: string | null;
  /** The TPM's identity at that slot. */
  readonly identity: string | null;
  /** The foreign claim that fenced this host. */
  readonly fenced: { readonly host: HostName; readonly epoch: Slot; readonly at: string } | null;
  readonly nvramPath: string | null;
  /** The claim that names the directory in which the domain's swtpm works on the share itself; `null` when it works on this host. */
  readonly live: Slot | null;
  /** Boot of this host in which its disk was last known to hold the newest state; '' if never. A power loss ends it. */
  readonly bootId: string;
  /** Boot of this host in which a migration was announced whose state has not been seen to come; '' for none. */
  readonly awaitedInBoot: string;
  /** Of a domain that came, or is to come, by migration; kept until the next one. */
  readonly arrival: Arrival | null;
  /** How this host came to the volume for the domain's run, when it took it from another one. */
  readonly takenOver: TakeOver | null;
  /** RFC 3339 UTC: for display only. */
  readonly updatedAt: string;
}

/** What the volume's log said when a migration to this host was announced: it tells the source's claim from one for another run of the domain. */
export interface Arrival {
  /** The boot of this host whose monotonic clock `atMs` is of. */
  readonly bootId: string;
  /** ms */
  readonly atMs: number;
  /** The last claim; `null` when there was none, or when the share did not answer. */
  readonly source: { readonly slot: Slot; readonly host: HostName } | null;
  /** Where the log ended; `null` when the share did not answer. */
  readonly logTop: Slot | null;
}

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
  /** @throws MirrorError `HOST_IO` */
  list(): Promise<JournalListing>;
}

/** What only the end of a domain needs. */
export interface ForgettingJournal extends Journal {
  /** Resolves when nothing of the domain is remembered. @throws MirrorError `HOST_IO` */
  remove(uuid: DomainUuid): Promise<void>;
}

/** Whether nothing of the domain is left to do on this host. */
export function isAtRest({ phase, holding }: Pick<JournalRecord, 'phase' | 'holding'>): boolean {
  return (phase === 'stopped' || phase === 'away') && !holding;
}

/** One block of every file system, so that a record is written whole or not at all. */
const RECORD_BYTES_MAX = 4096;
const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const SLOT = z.int().min(0).max(SLOT_MAX);
const HOST = z.custom<HostName>((value) => typeof value === 'string' && isHostName(value));
const RECORD: z.ZodType<JournalRecord> = z.strictObject({
  format: z.literal(FORMAT),
  uuid: z.custom<DomainUuid>((value) => typeof value === 'string' && isDomainUuid(value)),
  name: z.string(),
  byHook: z.boolean().default(false),
  shareId: z.string().nullable(),
  phase: z.enum(DOMAIN_PHASES),
  epoch: SLOT,
  holding: z.boolean(),
  claiming: z.boolean().default(false),
  slot: SLOT,
  digest: SHA256.nullable(),
  publishedAt: z.string().nullable().default(null),
  identity: SHA256.nullable(),
  fenced: z.strictObject({ host: HOST, epoch: SLOT, at: z.string() }).nullable(),
  nvramPath: z.string().nullable(),
  live: SLOT.nullable().default(null),
  runBootId: z.string().default(''),
  bootId: z.string(),
  awaitedInBoot: z.string().default(''),
  arrival: z
    .strictObject({
      bootId: z.string(),
      atMs: z.number(),
      source: z.strictObject({ slot: SLOT, host: HOST }).nullable(),
      logTop: SLOT.nullable(),
    })
    .nullable()
    .default(null),
  takenOver: z
    .strictObject({ from: HOST, at: z.string(), silentMs: z.number().nullable() })
    .nullable()
    .default(null),
  updatedAt: z.string(),
});

const RECORD_SUFFIX = '.json';
/** Of a record that is being written. A domain has one writer, so that what a killed one left is in nobody's way. */
const NEW_SUFFIX = '.json.0';
/** What a killed write leaves; former versions of this program had another number at the end. */
const LEFTOVER = /^(.{36})\.json\.\d+$/;

export class FileJournal implements ForgettingJournal {
  readonly #fs: HostContext['fs'];
  readonly #stateDirectory: string;
  /** Durably there, as far as this process knows. */
  #hasDirectory = false;

  constructor(context: Pick<HostContext, 'fs' | 'stateDirectory'>) {
    this.#fs = context.fs;
    this.#stateDirectory = context.stateDirectory;
  }

  async read(uuid: DomainUuid): Promise<JournalRecord | undefined> {
    return orHostError(`read the journal of ${uuid}`, async () => {
      const path = this.#path(uuid);
      const data = await ifAny(() => this.#readFile(path));
      return data && parseRecord(path, uuid, data);
    });
  }

  async write(record: JournalRecord): Promise<void> {
    const text = `${JSON.stringify(record, null, 2)}\n`;
    invariant(Buffer.byteLength(text) <= RECORD_BYTES_MAX, 'a journal record fits into one block');
    await orHostError(`write the journal of ${record.uuid}`, async () => {
      await this.#ensureDirectory();
      try {
        const place = { fs: this.#fs, stateDirectory: this.#stateDirectory };
        await orFromReserve(place, () => this.#replace(record.uuid, Buffer.from(text)));
      } catch (error) {
        // The directory itself may have gone.
        this.#hasDirectory = false;
        throw error;
      }
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
      await ifAny(() => this.#fs.unlink('journal:unlink', this.#path(uuid)));
      await ifAny(() => this.#fs.syncDirectory('journal:sync', this.#directory));
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
        if (LEFTOVER.test(name)) await this.#fs.unlink('journal:sweep', `${this.#directory}/${name}`);
      }
    });
  }

  async #ensureDirectory(): Promise<void> {
    if (this.#hasDirectory) return;
    await ensureDirectories(this.#fs, 'journal', this.#stateDirectory, 'journal');
    this.#hasDirectory = true;
  }

  /** P1 to P3. */
  async #replace(uuid: DomainUuid, data: Uint8Array): Promise<void> {
    const fs = this.#fs;
    const temporary = `${this.#directory}/${uuid}${NEW_SUFFIX}`;
    await writeDurable(fs, 'journal', temporary, data, 'create');
    await fs.rename('journal:rename', temporary, this.#path(uuid));
    await fs.syncDirectory('journal:sync', this.#directory);
  }

  get #directory(): string {
    return `${this.#stateDirectory}/journal`;
  }

  #path(uuid: DomainUuid): string {
    return `${this.#directory}/${uuid}${RECORD_SUFFIX}`;
  }

  #names(): Promise<string[]> {
    return orHostError('list the journal', () => namesIn(this.#fs, 'journal:readdir', this.#directory));
  }

  async #readFile(path: string): Promise<Uint8Array> {
    try {
      return (await readRegular(this.#fs, 'journal', path, RECORD_BYTES_MAX)).data;
    } catch (error) {
      throw error instanceof UnfitFileError ? damagedRecord(path, `it is ${error.message}`) : error;
    }
  }
}

function parseRecord(path: string, uuid: DomainUuid, data: Uint8Array): JournalRecord {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(data).toString());
  } catch (error) {
    throw damagedRecord(path, `${data.length} bytes that are not JSON`, error);
  }
  const checked = RECORD.safeParse(value);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw damagedRecord(path, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`, checked.error);
  }
  if (checked.data.uuid !== uuid) throw damagedRecord(path, `it is the record of ${checked.data.uuid}`);
  return checked.data;
}

function damagedRecord(path: string, fault: string, cause?: unknown): MirrorError {
  return new MirrorError('JOURNAL_DAMAGED', `cannot read the journal record ${path}: ${fault}`, {
    next: 'compare `swtpm-mirror history DOMAIN --all` with the local state, then move the damaged file away and choose with `swtpm-mirror resolve`',
    cause,
  });
}
