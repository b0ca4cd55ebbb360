/**
 * journal-record: what a host remembers of one domain, and its text on disk.
 *
 * I1 A text that is no whole record of its domain is an error that names its file; nothing is guessed.
 */
import * as z from 'zod';
import type { TpmDirectoryName } from '../model/capture.js';
import { invariant, MirrorError } from '../model/errors.js';
import { SLOT_MAX, type Slot } from '../model/generation-name.js';
import { isDomainUuid, isHostName, type DomainUuid, type HostName } from '../model/identifiers.js';
import type { NvramForm } from '../model/nvram.js';
import type { UnreadPart } from '../model/parts.js';
import type { RunClaim } from '../model/run-claim.js';
import { UNSTORED_FAULTS, type UnstoredFault } from '../model/state-fault.js';
import type { TakeOver } from '../model/take-over.js';

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
  /**
   * Digest of the TPM (`tpmDigest`) that the last run here left, where it ended in good order with its final
   * state stored, be it as a diverged copy; `null` when it did not, since a start began, and in what earlier versions wrote.
   */
  readonly finalTpm: string | null;
  /**
   * The final state that its last run here left and that could not be stored; `null` where none is known.
   * It may be deleted, and the head is older than it.
   */
  readonly unstored: UnstoredState | null;
  /** When that was stored, RFC 3339 UTC; `null` when it is not known: for display only. */
  readonly publishedAt: string | null;
  /** The TPM's identity at that slot. */
  readonly identity: string | null;
  /** The foreign claim that fenced this host. */
  readonly fenced: { readonly host: HostName; readonly epoch: Slot; readonly at: string } | null;
  readonly nvramPath: string | null;
  /** What its firmware variables are; `null` where that is not known. */
  readonly nvram: NvramForm | null;
  /** The directory that its owner chose for its TPM; `null`: libvirt's own place. */
  readonly tpm: { readonly role: TpmDirectoryName; readonly directory: string } | null;
  /** Its parts that could not be read last. */
  readonly unread: readonly UnreadPart[];
  /** The claim that names the directory in which the domain's swtpm works on the share itself; `null` when it works on this host. */
  readonly live: Slot | null;
  /** Boot of this host in which its disk was last known to hold the newest state; '' if never. A power loss ends it. */
  readonly bootId: string;
  /** Boot of this host in which a migration was announced whose state has not been seen to come; '' for none. */
  readonly awaitedInBoot: string;
  /** Of a domain whose present or last start was announced as a migration. */
  readonly arrival: Arrival | null;
  /** How this host came to the volume for the domain's run, when it took it from another one. */
  readonly takenOver: TakeOver | null;
  /** RFC 3339 UTC: for display only. */
  readonly updatedAt: string;
}

export interface UnstoredState {
  /** RFC 3339 UTC. */
  readonly at: string;
  readonly fault: UnstoredFault;
  /** What was wrong with it, in one sentence. */
  readonly why: string;
  /** Directory of a copy in this host's state directory; `null` where none could be made. */
  readonly copy: string | null;
}

/** Where a domain comes from whose migration to this host was announced, as far as that was known then: see `model/arrival.ts`. */
export interface Arrival {
  /** The claim of the other host that held the volume; `null` when none did, or when the share did not answer. */
  readonly source: { readonly slot: Slot; readonly host: HostName } | null;
  /** Where the log ended; `null` when the share did not answer. */
  readonly logTop: Slot | null;
  /** The claim that the domain's definition carried; `null` when it carried none. */
  readonly claim: RunClaim | null;
}

/** Whether nothing of the domain is left to do on this host. */
export function isAtRest({ phase, holding }: Pick<JournalRecord, 'phase' | 'holding'>): boolean {
  return (phase === 'stopped' || phase === 'away') && !holding;
}

/** Far more than a record takes: about 1 KB, and 10 KB with the longest name, paths and reasons. */
export const RECORD_BYTES_MAX = 16_384;
const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const SLOT = z.int().min(0).max(SLOT_MAX);
const HOST = z.custom<HostName>((value) => typeof value === 'string' && isHostName(value));
const PART_ROLE = z.enum(['nvram', 'varstore']);
const NVRAM: z.ZodType<NvramForm> = z.strictObject({
  role: PART_ROLE,
  format: z.enum(['raw', 'qcow2', 'json']).optional(),
  device: z.boolean(),
  unsupported: z.string().optional(),
}) as z.ZodType<NvramForm>;
const UNREAD: z.ZodType<UnreadPart> = z.strictObject({
  role: PART_ROLE,
  kind: z.enum(['missing', 'unfit', 'passing']),
  state: z.enum(['stale', 'absent']),
  reason: z.string(),
  since: z.string(),
});
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
  finalTpm: SHA256.nullable().default(null),
  unstored: z
    .strictObject({
      at: z.string(),
      fault: z.enum(UNSTORED_FAULTS),
      why: z.string(),
      copy: z.string().nullable(),
    })
    .nullable()
    .default(null),
  publishedAt: z.string().nullable().default(null),
  identity: SHA256.nullable(),
  fenced: z.strictObject({ host: HOST, epoch: SLOT, at: z.string() }).nullable(),
  nvramPath: z.string().nullable(),
  nvram: NVRAM.nullable().default(null),
  tpm: z
    .strictObject({ role: z.enum(['tpm2', 'tpm1.2']), directory: z.string() })
    .nullable()
    .default(null),
  unread: z.array(UNREAD).default([]),
  live: SLOT.nullable().default(null),
  runBootId: z.string().default(''),
  bootId: z.string(),
  awaitedInBoot: z.string().default(''),
  arrival: z
    .object({
      source: z.strictObject({ slot: SLOT, host: HOST }).nullable(),
      logTop: SLOT.nullable(),
      claim: z.strictObject({ host: HOST, epoch: SLOT, token: z.string() }).nullable().default(null),
    })
    .nullable()
    .default(null),
  takenOver: z
    .strictObject({ from: HOST, at: z.string(), silentMs: z.number().nullable() })
    .nullable()
    .default(null),
  updatedAt: z.string(),
});

export function formatRecord(record: JournalRecord): Uint8Array {
  const data = Buffer.from(`${JSON.stringify(record, null, 2)}\n`);
  invariant(data.length <= RECORD_BYTES_MAX, 'a journal record is no longer than what is read back');
  return data;
}

/** @throws MirrorError `JOURNAL_DAMAGED` */
export function parseRecord(path: string, uuid: DomainUuid, data: Uint8Array): JournalRecord {
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

export function damagedRecord(path: string, fault: string, cause?: unknown): MirrorError {
  return new MirrorError('JOURNAL_DAMAGED', `cannot read the journal record ${path}: ${fault}`, {
    next: 'compare `swtpm-mirror history DOMAIN --all` with the local state, then move the damaged file away and choose with `swtpm-mirror resolve`',
    cause,
  });
}
