/**
 * log-entry: what one slot of a volume's log says. A slot is a symbolic link and its target is the entry, so an entry is
 * written, atomically and exclusively, by one `symlink(2)`.
 *
 *   ../gen/00000041-e00000036-…tar.gz                        publish
 *   claim?host=kvm-b&token=…&at=…&reason=take-over           claim: a new epoch, numbered by this slot;
 *                                                            one that was taken: &from=kvm-a&silent_ms=31250
 *   …&id=…&run=…                                             in all but a publish: the host's id and instance (`host-identity.ts`)
 *   release?host=kvm-b&token=…&at=…&epoch=42&reason=stop     the holder of that epoch gave the volume up in good order
 *   tombstone?host=kvm-b&token=…&at=…&epoch=42&reason=forget the domain was forgotten; a later claim revives it
 *
 * Every entry carries a random token (a publish: its nonce), so that a writer tells its own entry from an equal one.
 */
import {
  formatGenerationName,
  parseGenerationName,
  type GenerationName,
  type Slot,
} from './generation-name.js';
import { isHostId, isInstanceId, type Author } from './host-identity.js';
import { isHostName, type HostName } from './identifiers.js';

/** Why a host claimed a volume. */
export const CLAIM_REASONS = [
  'start',
  'adopt',
  'take-over',
  'forced',
  'migration',
  'recover',
  'compact',
  'operator',
  'purge',
] as const;
export type ClaimReason = (typeof CLAIM_REASONS)[number];

/** libvirt's reason of a stop after which the domain runs on another host: that of its release. */
export const HANDED_OVER = 'migrated';

/** libvirt's reason for the end of a domain that never ran: its start, or its migration to this host, failed. */
export const NEVER_RAN = 'failed';

/** Reason of a release: the domain was not allowed to start after all, or never came up. */
export const START_FAILED = 'start-failed';

export interface PublishEntry {
  readonly kind: 'publish';
  readonly slot: Slot;
  readonly generation: GenerationName;
}

/** Who wrote it: the host's name and, but for program 0.1.0, its id and instance. */
interface SignedEntry extends Author {
  readonly slot: Slot;
  readonly token: string;
  /** RFC 3339 UTC by the writer's clock: for display only. */
  readonly at: string;
  readonly reason: string;
}

export interface ClaimEntry extends SignedEntry {
  readonly kind: 'claim';
  /** The host that held the volume, when that was another one: for display only. */
  readonly from?: HostName;
  /** How old that host's heartbeat was, ms; missing where it had none. For display only. */
  readonly silentMs?: number;
}

/** Closes the epoch that it names. */
export interface ClosingEntry extends SignedEntry {
  readonly kind: 'release' | 'tombstone';
  readonly epoch: Slot;
}

/** A payload of another version, or damage: its slot counts as taken and nothing else is known. */
export interface UnknownEntry {
  readonly kind: 'unknown';
  readonly slot: Slot;
  readonly payload: string;
}

export type LogEntry = PublishEntry | ClaimEntry | ClosingEntry | UnknownEntry;

const GENERATION_PREFIX = '../gen/';
const TOKEN = /^[0-9a-f]{8,64}$/;
const MILLISECONDS = /^\d{1,12}$/;
const EPOCH = /^[1-9]\d{0,7}$/;
/** A reason can come from outside, and the longest symbolic link that every file system takes has 1023 bytes. */
const REASON_CHARACTERS_MAX = 64;

export function formatPayload(entry: Exclude<LogEntry, UnknownEntry>): string {
  if (entry.kind === 'publish') return GENERATION_PREFIX + formatGenerationName(entry.generation);
  const fields = new URLSearchParams({ host: entry.host, token: entry.token, at: entry.at });
  if (entry.kind !== 'claim') fields.set('epoch', String(entry.epoch));
  fields.set('reason', entry.reason.slice(0, REASON_CHARACTERS_MAX));
  // Program 0.1.0 passes over what it does not know.
  if (entry.id !== undefined) fields.set('id', entry.id);
  if (entry.instance !== undefined) fields.set('run', entry.instance);
  if (entry.kind === 'claim' && entry.from !== undefined) {
    fields.set('from', entry.from);
    if (entry.silentMs !== undefined) fields.set('silent_ms', String(entry.silentMs));
  }
  return `${entry.kind}?${fields.toString().replaceAll('%3A', ':')}`;
}

export function parsePayload(slot: Slot, payload: string): LogEntry {
  const unknown: UnknownEntry = { kind: 'unknown', slot, payload };
  if (payload.startsWith(GENERATION_PREFIX)) {
    const generation = parseGenerationName(payload.slice(GENERATION_PREFIX.length));
    return generation?.slot === slot ? { kind: 'publish', slot, generation } : unknown;
  }
  const [kind, query] = splitOnce(payload, '?');
  if (kind !== 'claim' && kind !== 'release' && kind !== 'tombstone') return unknown;
  const fields = new URLSearchParams(query);
  const host = fields.get('host') ?? '';
  const token = fields.get('token') ?? '';
  if (!isHostName(host) || !TOKEN.test(token)) return unknown;
  const written = { at: fields.get('at') ?? '', reason: fields.get('reason') ?? '' };
  const signed = { slot, host, ...idsIn(fields), token, ...written };
  if (kind === 'claim') return { kind, ...signed, ...parseTakeOver(fields) };
  const epochText = fields.get('epoch') ?? '';
  const epoch = Number(epochText);
  return EPOCH.test(epochText) && epoch < slot ? { kind, ...signed, epoch } : unknown;
}

function idsIn(fields: URLSearchParams): Pick<Author, 'id' | 'instance'> {
  const id = fields.get('id') ?? '';
  const instance = fields.get('run') ?? '';
  if (!isHostId(id)) return {};
  return { id, ...(isInstanceId(instance) && { instance }) };
}

function parseTakeOver(fields: URLSearchParams): Pick<ClaimEntry, 'from' | 'silentMs'> {
  const from = fields.get('from') ?? '';
  if (!isHostName(from)) return {};
  const silent = fields.get('silent_ms') ?? '';
  return { from, ...(MILLISECONDS.test(silent) && { silentMs: Number(silent) }) };
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}
