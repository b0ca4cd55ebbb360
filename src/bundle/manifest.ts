/**
 * manifest: the first entry of a bundle. It says whose state the bundle holds, where it stands in the volume's log, who wrote it and
 * why, and which files follow.
 *
 * I1 A parsed manifest is consistent in itself: known files, each once, at least one of a TPM, and the digest that they give.
 *    Whether the files that follow are the ones it describes is checked by `archive.ts`.
 * I2 `formatManifest` writes nothing that `parseManifest` would refuse.
 *
 * Compatibility: keys that format 1 does not know are accepted and ignored, so a later version may add some without a new
 * format. So are new reasons. A new role, or a change of what a key means, needs a new format, which this version refuses by name.
 */
import * as z from 'zod';
import {
  ABSENCE_KINDS,
  bytesMaxOf,
  isStateFileName,
  isTpmRole,
  NVRAM_BYTES_MAX,
  NVRAM_FILE_NAME,
  STATE_FILE_BYTES_MAX,
  STATE_FILE_NAMES,
  VARSTORE_FILE_NAME,
  type AbsentPart,
  type FileOwner,
  type FileRole,
} from '../model/capture.js';
import { invariant, MirrorError } from '../model/errors.js';
import { parseGenerationName, SLOT_MAX, type Slot } from '../model/generation-name.js';
import { contentDigest } from '../model/hash.js';
import { isDomainUuid, isHostName, type DomainUuid, type HostName } from '../model/identifiers.js';
import { damaged } from './damaged.js';

export const MANIFEST_NAME = 'manifest.json';
/**
 * The newest format. What format 1 can say is written in it, so that hosts with an older version read it.
 *
 *   2  `varstore`; firmware variables above 16 MiB; files that lie in another bundle of the volume (`in`)
 */
export const MANIFEST_FORMAT = 2;
export type ManifestFormat = 1 | 2;
/** Largest manifest, bytes; a real one has about 1 KB. */
export const MANIFEST_BYTES_MAX = 64 * 1024;
/** Every file that a bundle can hold, once. */
export const FILES_MAX = [...Object.values(STATE_FILE_NAMES).flat(), NVRAM_FILE_NAME, VARSTORE_FILE_NAME]
  .length;

/** Why a generation was written. */
export const GENERATION_REASONS = [
  'change',
  'stop',
  'adopt',
  'import',
  'carried',
  'rollback',
  'revert',
  'recover',
  'operator',
  'migration',
  'diverged',
  'clone',
  'resolve',
  'placed',
] as const;
export type GenerationReason = (typeof GENERATION_REASONS)[number];

export interface ManifestFile {
  readonly role: FileRole;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Permission bits, at most `0o777`. */
  readonly mode: number;
  /** When the file was last written by its host's clock, ns since the epoch, as a decimal number (JSON's own lose digits). */
  readonly mtimeNs: string;
  readonly sha256: string;
  /** Whose it was on its host. Missing in what earlier versions wrote. */
  readonly owner?: FileOwner | undefined;
  /** Why this is an earlier reading of the file than the rest. */
  readonly stale?: string | undefined;
  /** It is not in this bundle: the generation of its volume that holds it, by its file name. */
  readonly in?: string | undefined;
}

/** A part that the domain has and the bundle has not. */
export type ManifestAbsentPart = Pick<AbsentPart, 'role' | 'kind' | 'reason'>;

export interface Manifest {
  readonly format: ManifestFormat;
  readonly uuid: DomainUuid;
  /** The domain's name as libvirt gave it, or ''. Any characters: quote it before printing. */
  readonly name: string;
  /** The slot that it aimed at; 0 when it never aimed at one (a spooled or exported copy). */
  readonly slot: Slot;
  /** Slot of the claim under which it was written; 0 when there was none. */
  readonly epoch: Slot;
  /** Slot of the head before it, or 0. */
  readonly parent: Slot;
  readonly host: HostName;
  /** The writer's boot, to tell a restart of the host; '' if unknown. */
  readonly bootId: string;
  /** RFC 3339 UTC by the writer's clock: for display only. */
  readonly time: string;
  /** A `GenerationReason`, or one of a later version. */
  readonly reason: string;
  /** Version of swtpm; '' if unknown. */
  readonly swtpm: string;
  /** Version of libtpms; '' if unknown. */
  readonly libtpms: string;
  /** The capture's content digest. */
  readonly digest: string;
  /** The TPM's identity as the writer saw it, or null. Not checked against the state here. */
  readonly identity: string | null;
  readonly files: readonly ManifestFile[];
  /** Missing in what earlier versions wrote. */
  readonly absent?: readonly ManifestAbsentPart[] | undefined;
}

/** What a manifest says beyond its capture. */
export type ManifestFields = Pick<
  Manifest,
  'slot' | 'epoch' | 'parent' | 'host' | 'bootId' | 'time' | 'name' | 'swtpm' | 'libtpms'
> & { readonly reason: GenerationReason };

const DOMAIN_NAME_CHARACTERS_MAX = 1024;
const SHA256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hexadecimal digits');
const SLOT = z.int().min(0).max(SLOT_MAX);
const LABEL = z.string().regex(/^[\x20-\x7e]{0,128}$/, 'expected at most 128 printable ASCII characters');

const REASON = z.string().max(256);

const ID = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
const ACCOUNT = z.string().max(64);
const OWNER: z.ZodType<FileOwner> = z.object({ uid: ID, gid: ID, user: ACCOUNT, group: ACCOUNT });

const FILE: z.ZodType<ManifestFile> = z
  .object({
    role: z.enum(['tpm2', 'tpm1.2', 'nvram', 'varstore']),
    name: z.string(),
    size: z.int().min(0).max(NVRAM_BYTES_MAX),
    // A bundle may come from anywhere: it never makes a file set-user-ID.
    mode: z.int().min(0).max(0o777),
    mtimeNs: z.string().regex(/^(0|-?[1-9]\d{0,19})$/, 'expected a decimal number of nanoseconds'),
    sha256: SHA256,
    owner: OWNER.optional(),
    stale: REASON.optional(),
    in: z
      .string()
      .refine((name) => parseGenerationName(name) !== undefined, 'expected the name of a generation')
      .optional(),
  })
  .refine((file) => file.in === undefined || !isTpmRole(file.role), {
    path: ['in'],
    error: 'expected a TPM in the bundle itself',
  })
  .refine(({ role, size }) => size <= bytesMaxOf(role), {
    path: ['size'],
    error: 'expected no more bytes than a file of this role can have',
  })
  .refine((file) => isStateFileName(file.role, file.name), {
    path: ['name'],
    error: 'expected the name of a state file of this role',
  });

const ABSENT: z.ZodType<ManifestAbsentPart> = z.object({
  role: z.enum(['nvram', 'varstore']),
  kind: z.enum(ABSENCE_KINDS),
  reason: REASON,
});

const MANIFEST: z.ZodType<Manifest> = z
  .object({
    format: z.union([z.literal(1), z.literal(MANIFEST_FORMAT)]),
    uuid: z.custom<DomainUuid>(
      (value) => typeof value === 'string' && isDomainUuid(value),
      'expected a domain UUID in lower case',
    ),
    name: z.string().max(DOMAIN_NAME_CHARACTERS_MAX),
    slot: SLOT,
    epoch: SLOT,
    parent: SLOT,
    host: z.custom<HostName>(
      (value) => typeof value === 'string' && isHostName(value),
      'expected a host name',
    ),
    bootId: LABEL,
    time: z.iso.datetime('expected an RFC 3339 time in UTC'),
    reason: z.string().regex(/^[a-z][a-z-]{0,31}$/, 'expected one lower-case word'),
    swtpm: LABEL,
    libtpms: LABEL,
    digest: SHA256,
    identity: SHA256.nullable(),
    files: z.array(FILE).min(1).max(FILES_MAX),
    absent: z.array(ABSENT).max(FILES_MAX).optional(),
  })
  .refine(({ slot, epoch, parent }) => slot === 0 || (epoch < slot && parent < slot), {
    path: ['slot'],
    error: 'expected a slot above its epoch and its parent',
  })
  .refine(({ files }) => new Set(files.map(filePath)).size === files.length, {
    path: ['files'],
    error: 'expected each file once',
  })
  .refine(({ files }) => new Set(files.flatMap((file) => file.in ?? [])).size <= 1, {
    path: ['files'],
    error: 'expected one generation for all that is not in the bundle',
  })
  .refine(({ files }) => files.some((file) => isTpmRole(file.role)), {
    path: ['files'],
    error: 'expected at least one file of a TPM',
  })
  .refine(({ digest, files }) => digest === contentDigest(files), {
    path: ['digest'],
    error: 'expected the digest that the files give',
  });

/** Only what tells the formats apart, so that a manifest of a later one is never judged by the rules of this one. */
const ANY_FORMAT = z.object({ format: z.int().min(1) });

/** The oldest format that can say this. */
export function formatFor(files: readonly Pick<ManifestFile, 'role' | 'size' | 'in'>[]): ManifestFormat {
  const isPlain = (file: Pick<ManifestFile, 'role' | 'size' | 'in'>): boolean =>
    file.role !== 'varstore' && file.size <= STATE_FILE_BYTES_MAX && file.in === undefined;
  return files.every(isPlain) ? 1 : 2;
}

/** The generation that holds what a bundle has not; `undefined`: the bundle has all of it. */
export function referenceOf({ files }: Pick<Manifest, 'files'>): string | undefined {
  return files.find((file) => file.in !== undefined)?.in;
}

/** Where a file stands in the archive. */
export function filePath(file: Pick<ManifestFile, 'role' | 'name'>): string {
  return `${file.role}/${file.name}`;
}

/** The manifest as its archive entry: pretty-printed JSON with keys in a fixed order, ending with a newline. */
export function formatManifest(manifest: Manifest): Uint8Array {
  const checked = MANIFEST.safeParse(manifest);
  invariant(checked.success, `a manifest is valid before it is written; ${faultOf(checked.error)}`);
  return new TextEncoder().encode(`${JSON.stringify(checked.data, null, 2)}\n`);
}

/**
 * @throws MirrorError `SHARE_VERSION` for a later format, `GENERATION_DAMAGED` for anything else that is not a valid manifest
 */
export function parseManifest(data: Uint8Array): Manifest {
  const value = parseJson(data);
  const { success, data: versioned } = ANY_FORMAT.safeParse(value);
  if (success && versioned.format > MANIFEST_FORMAT) {
    const { format } = versioned;
    throw new MirrorError(
      'SHARE_VERSION',
      `cannot read bundle: its manifest has format ${format}, this version reads up to ${MANIFEST_FORMAT}`,
      { next: `upgrade swtpm-mirror on this host to a version that reads format ${format}` },
    );
  }
  const checked = MANIFEST.safeParse(value);
  if (!checked.success) throw damaged(`its manifest is not valid; ${faultOf(checked.error)}`);
  return checked.data;
}

function parseJson(data: Uint8Array): unknown {
  if (data.length > MANIFEST_BYTES_MAX) {
    throw damaged(`its manifest has ${data.length} bytes, expected at most ${MANIFEST_BYTES_MAX}`);
  }
  // The causes are dropped: JSON.parse quotes its input, and what stands here may be misplaced state.
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw damaged('its manifest is not UTF-8');
  }
  try {
    return JSON.parse(text);
  } catch {
    throw damaged('its manifest is not JSON');
  }
}

/** The first fault, by its place. zod names types and bounds, never values. */
function faultOf(error: z.ZodError | undefined): string {
  const [issue] = error?.issues ?? [];
  if (!issue) return '';
  return `${issue.path.join('.') || 'the whole'}: ${issue.message}`;
}
