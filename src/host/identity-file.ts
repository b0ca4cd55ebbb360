/**
 * identity-file: who this host is, kept in `<state_dir>/identity.json`, and which boot of it runs,
 * kept in `<run_dir>/instance.json`.
 *
 * I1 The programs of one boot that share a run directory are one instance: whatever one of them
 *    writes on the share is no double's work.
 * I2 A run directory that was copied is noticed: its record says where it was made, and as what file.
 * I3 An instance is recorded here before anything on the share bears it.
 */
import * as z from 'zod';
import { FILE_MODE } from '../model/durable-file.js';
import type { Random } from '../model/environment.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import {
  identityOf,
  isHostId,
  isInstanceId,
  recogniseHost,
  separateRecord,
  type HostFinding,
  type HostId,
  type HostIdentity,
  type IdentityNews,
  type IdentityRecord,
  type InstanceId,
} from '../model/host-identity.js';
import { isHostName, type HostName } from '../model/identifiers.js';
import { ensureDirectories, ifAny, readRegular, writeNewFile } from './files.js';
import { orHostError } from './host-error.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';
import { orFromReserve } from './reserve.js';

const RECORD_BYTES_MAX = 65_536;
const INSTANCE_BYTES = 8;
const ID_BYTES = 16;

const HOST_NAME = z.custom<HostName>((value) => typeof value === 'string' && isHostName(value));
const HOST_ID = z.custom<HostId>((value) => typeof value === 'string' && isHostId(value));
const INSTANCE = z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value));

const RECORD = z.object({
  format: z.literal(1),
  id: HOST_ID,
  nameBeforeId: HOST_NAME,
  names: z.array(HOST_NAME).min(1),
  leaving: z.array(HOST_NAME),
  instances: z.array(INSTANCE),
  separated: z.array(z.object({ id: HOST_ID, instance: INSTANCE })).default([]),
  machine: z.object({ machineId: z.string(), hardware: z.string(), bootId: z.string() }),
});

const INSTANCE_RECORD = z.object({
  instance: INSTANCE,
  bootId: z.string(),
  directory: z.string(),
  inode: z.string(),
});

interface IdentityPlace {
  readonly fs: FileSystem;
  readonly random: Random;
  readonly stateDirectory: string;
}

export interface KnownIdentity {
  readonly identity: HostIdentity;
  readonly news: IdentityNews;
}

export class IdentityFile {
  readonly #place: IdentityPlace;
  readonly #replace: ReplaceFile;

  constructor(place: IdentityPlace, replace: ReplaceFile = replaceFile) {
    this.#place = place;
    this.#replace = replace;
  }

  get path(): string {
    return `${this.#place.stateDirectory}/identity.json`;
  }

  /** Who this host is, without writing anything. @throws MirrorError `IDENTITY_DAMAGED`, `HOST_IO` */
  async peek(found: HostFinding, addresses: readonly string[] = []): Promise<KnownIdentity> {
    const { record, news } = recogniseHost(await this.#read(), found);
    return { identity: identityOf(record, found, addresses), news };
  }

  /**
   * The same, recorded (I3).
   *
   * @param isAgent it has the last word on what is new; for others it stays news for the agent
   */
  async keep(
    found: HostFinding,
    { isAgent, addresses = [] }: { readonly isAgent: boolean; readonly addresses?: readonly string[] },
  ): Promise<KnownIdentity> {
    const known = await this.#read();
    const { record, news } = recogniseHost(known, found);
    if (known && isSameRecord(known, record)) return { identity: identityOf(record, found, addresses), news };
    if (!known || isAgent || news.kind === 'copied') await this.#write(record);
    else if (!known.instances.includes(found.instance)) {
      await this.#write({ ...known, instances: record.instances });
    }
    return { identity: identityOf(record, found, addresses), news };
  }

  /** Former names whose places on the share are taken away. */
  async left(names: readonly HostName[]): Promise<void> {
    const known = await this.#read();
    if (!known) return;
    await this.#write({ ...known, leaving: known.leaving.filter((name) => !names.includes(name)) });
  }

  /** Begins an identity that nothing copied has. @returns its id */
  async separate(found: HostFinding): Promise<HostId> {
    const id = this.#place.random.hex(ID_BYTES) as HostId;
    await this.#write(separateRecord(await this.#read(), found, id));
    return id;
  }

  async #read(): Promise<IdentityRecord | undefined> {
    return await orHostError(`read ${this.path}`, async () => {
      const file = await ifAny(() => readRegular(this.#place.fs, 'identity', this.path, RECORD_BYTES_MAX));
      if (!file) return undefined;
      const parsed = RECORD.safeParse(asJson(file.data));
      if (parsed.success) return parsed.data;
      throw new MirrorError('IDENTITY_DAMAGED', `${this.path} is damaged`, {
        next: `bring it back from a backup; or remove it: a host that was never renamed gets the same identity again, a renamed one has to take its volumes over with \`swtpm-mirror take-over --force\``,
      });
    });
  }

  async #write(record: IdentityRecord): Promise<void> {
    const { fs, stateDirectory } = this.#place;
    await orHostError(`write ${this.path}`, async () => {
      await orFromReserve({ fs, stateDirectory }, async () => {
        await ensureDirectories(fs, 'identity', stateDirectory);
        await this.#replace(this.path, `${JSON.stringify({ format: 1, ...record })}\n`);
      });
      await fs.syncDirectory('identity:sync', stateDirectory);
    });
  }
}

/**
 * The instance that the programs of this boot are (I1, I2).
 *
 * @param directory the run directory; where nothing can be written, the instance is this program's own
 */
export async function readInstance(
  { fs, random }: Pick<IdentityPlace, 'fs' | 'random'>,
  directory: string,
  bootId: string,
): Promise<InstanceId> {
  const fresh = random.hex(INSTANCE_BYTES) as InstanceId;
  const path = `${directory}/instance.json`;
  try {
    const known = await instanceAt(fs, path, directory, bootId);
    if (known) return known;
    // Of an earlier boot, or copied.
    if (known === null) await ifAny(() => fs.unlink('instance:unlink', path));
    await makeInstance(fs, path, { instance: fresh, directory, bootId });
    return (await instanceAt(fs, path, directory, bootId)) ?? fresh;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return fresh;
  }
}

/** @returns `undefined` for none, `null` for one that is not of this boot and place */
async function instanceAt(
  fs: FileSystem,
  path: string,
  directory: string,
  bootId: string,
): Promise<InstanceId | null | undefined> {
  const file = await ifAny(() => readRegular(fs, 'instance', path, RECORD_BYTES_MAX));
  if (!file) return undefined;
  const parsed = INSTANCE_RECORD.safeParse(asJson(file.data));
  if (!parsed.success) return null;
  const { instance, ...made } = parsed.data;
  const isHere =
    made.bootId === bootId && made.directory === directory && made.inode === String(file.stat.inode);
  return isHere ? instance : null;
}

async function makeInstance(
  fs: FileSystem,
  path: string,
  made: { readonly instance: InstanceId; readonly directory: string; readonly bootId: string },
): Promise<void> {
  const temporary = `${path}.${made.instance}`;
  await writeNewFile(fs, 'instance', temporary, new Uint8Array());
  try {
    const { inode } = await fs.lstat('instance:lstat', temporary);
    const file = await fs.open('instance:open', temporary, 'overwrite', FILE_MODE);
    try {
      const text = `${JSON.stringify({ ...made, inode: String(inode) })}\n`;
      await file.write('instance:write', new TextEncoder().encode(text), 0);
    } finally {
      await file.close('instance:close');
    }
    await fs.link('instance:link', temporary, path).catch((error: unknown) => {
      // Another program of this boot was quicker: it is the same instance.
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  } finally {
    await fs.unlink('instance:unlink', temporary).catch(() => undefined);
  }
}

/** Nothing is written where nothing is new: on a full disk that is what lets an agent start. */
function isSameRecord(one: IdentityRecord, other: IdentityRecord): boolean {
  return RECORD.keyof().options.every((key) => key === 'format' || isEqual(one[key], other[key]));
}

function isEqual(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function asJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}
