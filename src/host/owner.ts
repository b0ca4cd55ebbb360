/**
 * owner: whose the files are that a restore puts where none stood. libvirt sets the owner at every start unless `dynamic_ownership = 0`; without
 * libvirt nobody does.
 *
 *   1 what stands there            the restore's own business (`state-directory.ts`)
 *   2 the directory's owner        unless that is root: such a directory is shared
 *   3 whoever owned the file       by name, where this host has a system account of that name
 *   4 what `qemu.conf` says        or the account that a distribution makes for QEMU
 *
 * I1 Nothing that comes from a share makes a person, or root's own, of what was another's: ids are never taken over, names only of system accounts.
 */
import { dirname } from 'node:path';
import { isTpmRole, type Capture, type FileOwner, type StateFile } from '../model/capture.js';
import type { FileSystem } from '../model/filesystem.js';
import { isSystemId, nameOfId, readAccounts, type Accounts } from './accounts.js';
import { swtpmRoot, type DomainPaths } from './domain-paths.js';
import { lstatIfAny, readRegular } from './files.js';

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
}

export interface Owners {
  readonly tpm: Ownership | undefined;
  readonly nvram: Ownership | undefined;
}

const QEMU_CONF = '/etc/libvirt/qemu.conf';
const CONF_BYTES_MAX = 1024 * 1024;
const QEMU_ACCOUNTS = ['libvirt-qemu', 'qemu'];

export interface OwnerSources {
  readonly accounts: Accounts;
  /** Settings of `qemu.conf`; `undefined` without libvirt. */
  readonly qemuConf: ReadonlyMap<string, string> | undefined;
}

/** Never fails. */
export async function readOwnerSources(fs: FileSystem): Promise<OwnerSources> {
  return { accounts: await readAccounts(fs), qemuConf: await readQemuConf(fs, QEMU_CONF) };
}

/** @param sources `undefined`: nobody is known but by the directories */
export async function ownersFor(
  fs: FileSystem,
  paths: DomainPaths,
  { files }: Capture,
  { accounts, qemuConf }: OwnerSources,
): Promise<Owners> {
  const captured = (isMeant: (file: StateFile) => boolean): Ownership | undefined =>
    sameNamed(accounts, files.find(isMeant)?.owner);
  const { nvramPath } = paths;
  const tpm =
    (await ownerOfDirectory(fs, swtpmRoot(paths))) ??
    captured(({ role }) => isTpmRole(role)) ??
    named(accounts, qemuConf?.get('swtpm_user'), qemuConf?.get('swtpm_group'));
  const nvram =
    nvramPath === undefined
      ? undefined
      : ((await ownerOfDirectory(fs, dirname(nvramPath))) ??
        captured(({ role }) => !isTpmRole(role)) ??
        qemuOwner(accounts, qemuConf));
  return { tpm, nvram };
}

async function ownerOfDirectory(fs: FileSystem, path: string): Promise<Ownership | undefined> {
  const stat = await lstatIfAny(fs, 'owner:lstat', path).catch(() => undefined);
  return stat?.kind === 'directory' && stat.uid !== 0 ? { uid: stat.uid, gid: stat.gid } : undefined;
}

function sameNamed(accounts: Accounts, owner: FileOwner | undefined): Ownership | undefined {
  const isName = owner && accounts.users.has(owner.user);
  return isName ? named(accounts, owner.user, owner.group) : undefined;
}

/** @param group its own name's, where none is told or known */
function named(accounts: Accounts, user = '', group = ''): Ownership | undefined {
  const uid = idOf(accounts.users, user);
  const gid = idOf(accounts.groups, group) ?? idOf(accounts.groups, user);
  return isSystemId(uid) && isSystemId(gid) ? { uid, gid } : undefined;
}

/** `+107` is an id to libvirt, and so is a name that is a number and nobody's. */
function idOf(ids: ReadonlyMap<string, number>, name: string): number | undefined {
  return ids.get(name) ?? (/^\+?\d+$/.test(name) ? Number(name) : undefined);
}

function qemuOwner(accounts: Accounts, qemuConf: OwnerSources['qemuConf']): Ownership | undefined {
  if (!qemuConf) return undefined;
  const user = qemuConf.get('user');
  if (user !== undefined) return named(accounts, user, qemuConf.get('group'));
  for (const name of QEMU_ACCOUNTS) {
    const found = named(accounts, name, name);
    if (found) return found;
  }
  return undefined;
}

/** The plain settings `name = "value"`; lists are passed over. A name that begins with `+` is an id. */
export function parseQemuConf(text: string): Map<string, string> {
  const settings = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name = '', quoted, bare] = /^\s*(\w+)\s*=\s*(?:"([^"]*)"|(\d+))\s*(?:#.*)?$/.exec(line) ?? [];
    if (name !== '') settings.set(name, quoted ?? bare ?? '');
  }
  return settings;
}

async function readQemuConf(fs: FileSystem, path: string): Promise<Map<string, string> | undefined> {
  try {
    const { data } = await readRegular(fs, 'qemu-conf', path, CONF_BYTES_MAX);
    return parseQemuConf(Buffer.from(data).toString());
  } catch {
    return undefined;
  }
}

/** The capture with its owners' names. */
export function withOwnerNames(capture: Capture, { users, groups }: Accounts): Capture {
  const files = capture.files.map((file) => {
    const { owner } = file;
    if (!owner) return file;
    const names = { user: nameOfId(users, owner.uid), group: nameOfId(groups, owner.gid) };
    return { ...file, owner: { ...owner, ...names } };
  });
  return { ...capture, files };
}
