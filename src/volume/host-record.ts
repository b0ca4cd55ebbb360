/**
 * host-record: `hosts/<name>/host.json`, which says to whom a host's name on the share belongs.
 *
 *   P1 write the record aside    nobody reads it
 *   P2 link it to its name       the commit: exclusive, so one of two hosts has the name
 *
 * I1 A record of another host is never replaced or removed by this program.
 * I2 A host's own record is written anew, aside and renamed over the old one, where that says less
 *    than this program knows: one of program 0.1.0 has no id, and a machine can be repaired.
 */
import * as z from 'zod';
import { errnoOf, MirrorError } from '../model/errors.js';
import { isHostId, type HostId } from '../model/host-identity.js';
import { isHostName, type HostName } from '../model/identifiers.js';
import { readWhole, unlinkIfThere, writeWhole } from './files.js';
import { hostsPath, newToken, TEMPORARY_PREFIX, type ShareContext } from './share-context.js';

const RECORD_BYTES_MAX = 4096;
export const RECORD_PREFIX = `${TEMPORARY_PREFIX}host-`;

const RECORD = z.object({
  machineId: z.string().catch(''),
  id: z
    .custom<HostId>((value) => typeof value === 'string' && isHostId(value))
    .optional()
    .catch(undefined),
  hardware: z.string().catch(''),
  formerNames: z
    .array(z.custom<HostName>((value) => typeof value === 'string' && isHostName(value)))
    .catch([]),
});

export type HostRecord = z.infer<typeof RECORD>;

export function hostPath(context: Pick<ShareContext, 'root'>, name: string): string {
  return `${hostsPath(context)}/${name}`;
}

/** @returns `undefined` for none; one that cannot be understood is nobody's */
export async function readHostRecord(
  { fs, root }: Pick<ShareContext, 'fs' | 'root'>,
  name: string,
): Promise<HostRecord | undefined> {
  const path = `${hostPath({ root }, name)}/host.json`;
  try {
    const text = new TextDecoder().decode(await readWhole(fs, 'host-record', path, RECORD_BYTES_MAX));
    return RECORD.parse(JSON.parse(text));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError || error instanceof z.ZodError) {
      return { machineId: '', id: undefined, hardware: '', formerNames: [] };
    }
    throw error;
  }
}

/** Whether a record is this host's: its id, or in one of program 0.1.0 its machine. */
export function isOwnRecord({ id, machineId }: HostRecord, { self }: Pick<ShareContext, 'self'>): boolean {
  return id === undefined ? machineId === self.machineId : id === self.id;
}

/**
 * Takes this host's name for it, or makes sure that it has it.
 *
 * @param directory of the name, which is there
 * @throws MirrorError `HOST_NAME_TAKEN`
 */
export async function takeHostName(context: ShareContext, directory: string): Promise<void> {
  const { fs, self } = context;
  const path = `${directory}/host.json`;
  const known = await readHostRecord(context, self.name);
  if (known && !isOwnRecord(known, context)) throw nameTaken(self.name, path);
  const { id, machineId, hardware, formerNames } = self;
  const record = { machineId, id, hardware, formerNames };
  if (JSON.stringify(known) === JSON.stringify(record)) return;
  const temporary = `${directory}/${RECORD_PREFIX}${newToken(context)}`;
  const text = `${JSON.stringify(record)}\n`;
  await writeWhole(fs, 'host-record', temporary, new TextEncoder().encode(text));
  if (known) {
    await fs.rename('host-record:rename', temporary, path);
  } else {
    // EEXIST: another host was quicker, or our own reply was lost. ENOENT: the quicker one took our file for a leftover. Reading it back tells.
    await fs.link('host-record:link', temporary, path).catch((error: unknown) => {
      if (!['EEXIST', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
    });
    await unlinkIfThere(fs, 'host-record:unlink', temporary);
  }
  await fs.syncDirectory('host-record:sync', directory);
  const owner = await readHostRecord(context, self.name);
  if (owner === undefined) {
    throw new MirrorError('SHARE_UNAVAILABLE', `${path} could not be written: it was removed meanwhile`, {
      next: 'nothing: it is tried again',
      retriable: true,
    });
  }
  if (!isOwnRecord(owner, context)) throw nameTaken(self.name, path);
}

/**
 * Takes the record of a former name away, and what this host has beside it. The record goes last:
 * until then whatever is left is this host's.
 */
export async function removeHostRecord(context: ShareContext, name: HostName): Promise<void> {
  const { fs, root } = context;
  const directory = hostPath(context, name);
  const record = await readHostRecord(context, name);
  if (record && isOwnRecord(record, context)) {
    for (const file of await fs.readdir('host-record:readdir', directory)) {
      const isOurs = file === 'heartbeat' || file.startsWith(TEMPORARY_PREFIX);
      if (isOurs) await unlinkIfThere(fs, 'host-record:unlink', `${directory}/${file}`);
    }
    await fs.syncDirectory('host-record:sync', directory);
    await unlinkIfThere(fs, 'host-record:unlink', `${directory}/host.json`);
  } else if (record) {
    return;
  }
  // Not empty: another host has taken the name, or somebody put something there. It is not ours.
  await fs.rmdir('host-record:rmdir', directory).catch((error: unknown) => {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
  });
  await fs.syncDirectory('host-record:sync', hostsPath({ root }));
}

function nameTaken(name: HostName, path: string): MirrorError {
  return new MirrorError(
    'HOST_NAME_TAKEN',
    `the host name ${name} belongs to another machine on this share`,
    {
      next: `give this host its own name (\`host\` in the configuration); if the machine was reinstalled, remove ${path} first`,
    },
  );
}
