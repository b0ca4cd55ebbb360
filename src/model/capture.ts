/**
 * capture: a validated reading of a domain's state files, the unit that is published, spooled and restored.
 */
import type { Tail } from './content.js';
import type { DomainUuid } from './identifiers.js';

/** What a file is to its domain; it decides where a restore puts it and how it is validated. */
export type FileRole = 'tpm2' | 'tpm1.2' | 'nvram' | 'varstore';

export type PartRole = Exclude<FileRole, 'tpm2' | 'tpm1.2'>;

/** Sub-directory of `<swtpm_dir>/<uuid>` in which libvirt keeps TPM state of a role. */
export type TpmDirectoryName = 'tpm2' | 'tpm1.2';

/** Ids are the host's own; names are '' where it has none for them. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  readonly group: string;
}

/** A file that another generation of the same volume holds, and of the same epoch. */
export interface PartReference {
  /** Its file name in `gen/`. */
  readonly generation: string;
  /** Of the whole file. */
  readonly bytes: number;
}

export interface StateFile {
  readonly role: FileRole;
  /** Base name, one of `STATE_FILE_NAMES` for a TPM; for NVRAM always `nvram.fd` (its place on the host comes from the domain). */
  readonly name: string;
  /** Permission bits it had on the host. */
  readonly mode: number;
  /** When the host's file was last written, by that host's clock, ns since the epoch: comparable with readings of the same file on the same host only. */
  readonly mtimeNs: bigint;
  /** Its bytes; of a file with a tail those before it. Empty where it lies in another generation (`in`). */
  readonly data: Uint8Array;
  /** A long run of one byte at its end. Firmware variables alone have one. */
  readonly tail?: Tail | undefined;
  /** Lower-case hexadecimal SHA-256 of the whole file. */
  readonly sha256: string;
  /** It is not written again: `data` is empty. Parts beside a TPM alone. */
  readonly in?: PartReference | undefined;
  /** Whose it was on the host. */
  readonly owner?: FileOwner | undefined;
  /** Why this is an earlier reading of the file: the present one cannot be read. `undefined` for the present one. */
  readonly stale?: string | undefined;
}

/** The reason of a part of which nothing has the name. */
export const MISSING = 'missing';

/**
 * `missing`: nothing has its name. `unfit`: what stands there is never read. `passing`: it can be
 * better a moment later. `lost`: the volume had it, and what it lies in there is damaged.
 */
export const ABSENCE_KINDS = ['missing', 'unfit', 'passing', 'lost'] as const;
export type AbsenceKind = (typeof ABSENCE_KINDS)[number];

/** A part that the domain has and a capture has not: nothing but the TPM is needed for one. */
export interface AbsentPart {
  readonly role: PartRole;
  /** Continues `the NVRAM … is`. */
  readonly reason: string;
  readonly kind: AbsenceKind;
  /** Where it was looked for. */
  readonly path: string;
}

/** A state file as one look found it. */
export interface SeenFile extends StateFile {
  readonly inode: bigint;
  readonly identity: string | undefined;
  /** Whether one look is enough. */
  readonly selfValidating: boolean;
}

export interface Capture {
  readonly uuid: DomainUuid;
  /** Sorted by role, then name. At least one file, and at least one of a TPM role. */
  readonly files: readonly StateFile[];
  /** Content hash over roles, names and file hashes (see `contentDigest`): equal digests are equal states. 64 hexadecimal digits. */
  readonly digest: string;
  /** Hash of the TPM's endorsement seed: the same for a TPM's whole life. `undefined` when the state does not show it (encrypted, TPM 1.2). */
  readonly identity: string | undefined;
  /** Parts that could not be read; a capture can hold an earlier reading of one (`StateFile.stale`). */
  readonly absent?: readonly AbsentPart[] | undefined;
}

/** The files of swtpm that make up its state; everything else in its directory is left alone. */
export const STATE_FILE_NAMES: Readonly<Record<TpmDirectoryName, readonly string[]>> = {
  tpm2: ['tpm2-00.permall', 'tpm2-00.savestate'],
  'tpm1.2': ['tpm-00.permall', 'tpm-00.savestate'],
};

export const NVRAM_FILE_NAME = 'nvram.fd';
export const VARSTORE_FILE_NAME = 'varstore.json';

/** Largest file of a TPM, bytes. Its state is at most about 70 KB; the linear backend's file can be larger. */
export const STATE_FILE_BYTES_MAX = 16 * 1024 * 1024;
/** Largest file or device of firmware variables, bytes: Arm's flash has 64 MiB. */
export const NVRAM_BYTES_MAX = 64 * 1024 * 1024;

/** Largest file of a role, bytes. */
export function bytesMaxOf(role: FileRole): number {
  return isTpmRole(role) ? STATE_FILE_BYTES_MAX : NVRAM_BYTES_MAX;
}

/** A part that is no TPM's is one file. */
export function partFileName(role: PartRole): string {
  return role === 'nvram' ? NVRAM_FILE_NAME : VARSTORE_FILE_NAME;
}

export function isTpmRole(role: FileRole): role is TpmDirectoryName {
  return role === 'tpm2' || role === 'tpm1.2';
}

/** Whether a file of this role and name may be part of a capture. */
export function isStateFileName(role: FileRole, name: string): boolean {
  return isTpmRole(role) ? STATE_FILE_NAMES[role].includes(name) : name === partFileName(role);
}

export function compareStateFiles(
  a: Pick<StateFile, 'role' | 'name'>,
  b: Pick<StateFile, 'role' | 'name'>,
): number {
  const left = `${a.role}/${a.name}`;
  const right = `${b.role}/${b.name}`;
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The text whose SHA-256 is a capture's digest: one `role/name sha256` line per file, sorted. */
export function digestText(files: readonly Pick<StateFile, 'role' | 'name' | 'sha256'>[]): string {
  return [...files]
    .sort(compareStateFiles)
    .map((file) => `${file.role}/${file.name} ${file.sha256}\n`)
    .join('');
}
