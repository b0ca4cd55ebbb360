/**
 * accounts: who is who on this host, by the two files that every system has. What only a directory service knows is nobody here.
 */
import type { FileSystem } from '../model/filesystem.js';
import { readRegular } from './files.js';

const BYTES_MAX = 1024 * 1024;
/** The first id that a person can have: `SYS_UID_MAX` and one, everywhere. */
const FIRST_PERSON = 1000;

export interface Accounts {
  /** By name; `uid` of users and `gid` of groups. */
  readonly users: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<string, number>;
}

export const NOBODY_KNOWN: Accounts = { users: new Map(), groups: new Map() };

/** Never fails. */
export async function readAccounts(fs: FileSystem, directory = '/etc'): Promise<Accounts> {
  const [users, groups] = await Promise.all(
    ['passwd', 'group'].map((name) => idsIn(fs, `${directory}/${name}`)),
  );
  return { users: users ?? new Map<string, number>(), groups: groups ?? new Map<string, number>() };
}

async function idsIn(fs: FileSystem, path: string): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  try {
    const { data } = await readRegular(fs, 'accounts', path, BYTES_MAX);
    for (const line of Buffer.from(data).toString().split('\n')) {
      const [name = '', , id = ''] = line.split(':');
      if (name !== '' && /^\d+$/.test(id) && !ids.has(name)) ids.set(name, Number(id));
    }
  } catch {
    // A host without that file: its ids have no names.
  }
  return ids;
}

/** @returns '' for an id without a name */
export function nameOfId(ids: ReadonlyMap<string, number>, id: number): string {
  for (const [name, found] of ids) if (found === id) return name;
  return '';
}

/** A system's own account: what comes from a share must not make a person the owner of a TPM's state. */
export function isSystemId(id: number | undefined): id is number {
  return id !== undefined && id > 0 && id < FIRST_PERSON;
}
