/**
 * heartbeat-text: what a host writes into its heartbeat file. Pure.
 *
 *   64 bytes                  when, by the host's clock, and the program's version: all that program 0.1.0 writes and reads
 *   blanks
 *   JSON and a line end       who beats; it ends the text, and says the same time as the line above
 *
 * A text is as long as its instance makes it, in steps of `BEAT_STEP` bytes, and overwrites a file in
 * place. So a longer one of another instance keeps its end, which tells who that is.
 *
 * I1 Two beats of one host never have the same text.
 * I2 What program 0.1.0 has overwritten is no statement about who beats.
 */
import * as z from 'zod';
import { isHostId, isInstanceId, type HostId, type InstanceId } from './host-identity.js';
import { isHostName, type HostName } from './identifiers.js';

const LINE_BYTES = 64;
export const BEAT_STEP = 1024;
/** Longer than this no instance begins; a file that has grown to it is emptied. */
export const BEAT_BYTES_MAX = 16 * BEAT_STEP;
/** After the blanks that fill it up. */
const LINE = /^ *([0-9TZ:.-]+)(?: ([0-9A-Za-z.+~-]{1,32}))?\n$/;
const JSON_LINE = / (\{"[^\n]*\})\n/g;
const ADDRESSES_MAX = 4;

export interface Beat {
  /** RFC 3339 UTC by the host's clock: for display only. */
  readonly at: string;
  /** Of the program; `undefined` when it does not tell. */
  readonly version: string | undefined;
  /** `undefined` when program 0.1.0 beats. */
  readonly by: Beater | undefined;
}

export interface Beater {
  /** As above. */
  readonly at: string;
  readonly id: HostId;
  readonly instance: InstanceId;
  readonly host: HostName;
  readonly bootId: string;
  readonly hardware: string;
  readonly addresses: readonly string[];
  /** Counts the beats of a storage process. */
  readonly beats: number;
  /** Another instance under this identity that this one does not know to be dead: its later programs are to know it, too. */
  readonly found?: FoundInstance | undefined;
}

/** Another instance under one's own identity, as one text tells it to the programs that follow. */
export interface FoundInstance {
  readonly instance: InstanceId;
  readonly host: HostName;
  readonly bootId: string;
  readonly hardware: string;
  readonly addresses: readonly string[];
  readonly isSeen: boolean;
  /** Since its last beat, as far as is known, ms. */
  readonly silentMs: number;
}

const FOUND: z.ZodType<FoundInstance> = z.object({
  instance: z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value)),
  host: z.custom<HostName>((value) => typeof value === 'string' && isHostName(value)),
  bootId: z.string().max(64),
  hardware: z.string().max(64),
  addresses: z.array(z.string().max(64)).max(1),
  isSeen: z.boolean(),
  silentMs: z.number().nonnegative(),
});

const BEATER = z.object({
  at: z.string(),
  id: z.custom<HostId>((value) => typeof value === 'string' && isHostId(value)),
  instance: z.custom<InstanceId>((value) => typeof value === 'string' && isInstanceId(value)),
  host: z.custom<HostName>((value) => typeof value === 'string' && isHostName(value)),
  bootId: z.string().max(64),
  hardware: z.string().max(64),
  addresses: z.array(z.string().max(64)).max(ADDRESSES_MAX),
  beats: z.number(),
  found: FOUND.optional().catch(undefined),
});

/** @param bytes a multiple of `BEAT_STEP` */
export function formatBeat(version: string | undefined, by: Beater, bytes: number): Uint8Array {
  const { at } = by;
  const words = [at, ...(version === undefined ? [] : [version])].join(' ');
  const line = `${words.slice(0, LINE_BYTES - 1)}\n`.padStart(LINE_BYTES, ' ');
  const found = by.found && { ...by.found, addresses: by.found.addresses.slice(0, 1) };
  // Addresses are for people; what tells the instances always fits.
  const json = [by.addresses.slice(0, ADDRESSES_MAX), []]
    .map((addresses) => `${JSON.stringify({ ...by, at, addresses, found })}\n`)
    .find((text, last) => last === 1 || text.length < BEAT_STEP - LINE_BYTES);
  return new TextEncoder().encode(line + (json ?? '').padStart(bytes - LINE_BYTES, ' '));
}

/** @returns `undefined` for what is no heartbeat's text */
export function parseBeat(data: Uint8Array): Beat | undefined {
  const text = new TextDecoder('latin1').decode(data);
  const line = LINE.exec(text.slice(0, LINE_BYTES));
  if (!line) return undefined;
  const [, at = '', version] = line;
  // A shorter text leaves the end of a longer one: whoever wrote last says the time that stands above.
  return { at, version, by: beatersIn(text).find((beater) => beater.at === at) };
}

/** Who wrote the longest text, whoever has overwritten its beginning. */
export function parseLastBeater(data: Uint8Array): Beater | undefined {
  return beatersIn(new TextDecoder('latin1').decode(data)).at(-1);
}

function beatersIn(text: string): Beater[] {
  return [...text.matchAll(JSON_LINE)].flatMap(([, json = '']) => {
    try {
      const parsed = BEATER.safeParse(JSON.parse(json));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return [];
    }
  });
}

/**
 * The length of the next text in a file of `size` bytes: its own of before, or one that outlasts it.
 *
 * @param isOwn this instance wrote last; whoever can write there can have made the file longer since
 * @returns `undefined`: empty the file first
 */
export function beatBytesIn(size: number, isOwn: boolean): number | undefined {
  return isOwn && size <= BEAT_BYTES_MAX ? size : nextBeatBytes(size);
}

/** The length of a text that outlasts whatever lies in a file of `size` bytes. @returns `undefined`: empty the file first */
export function nextBeatBytes(size: number): number | undefined {
  const bytes = (Math.floor(size / BEAT_STEP) + 1) * BEAT_STEP;
  return bytes <= BEAT_BYTES_MAX ? bytes : undefined;
}
