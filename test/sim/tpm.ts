/**
 * tpm: every state that a simulated TPM ever had, and the state file that holds it.
 *
 * A state is known by its number and has one parent, so that "newer" means descent, not a larger counter: two hosts that both go on from one
 * state make two branches, and neither contains the other. The file is what swtpm writes, small: a plain blob that passes validation and shows
 * the TPM's endorsement seed, with the state's number in a place that validation leaves free.
 */
import type { DomainUuid } from '../../src/model/identifiers.js';

/** One life of a domain on one host, from the start of its swtpm to its end. */
export interface TpmRun {
  readonly number: number;
  readonly uuid: DomainUuid;
  readonly host: string;
  /** Whether the domain really began to run: a start that fails behind its swtpm has a state too. */
  began: boolean;
  /** Whether its state went on to another host. */
  handedOver: boolean;
  /** When this host's agent was told that it runs; `undefined` before. */
  toldStartedAtMs: number | undefined;
  /** Whether a hook allowed it: of one that was started past the hooks nobody else knows. */
  readonly isKnown: boolean;
  /** Its VM was started to take a guest in. */
  readonly isIncoming: boolean;
  /** No hook was told of it. */
  readonly isPastHook: boolean;
}

/**
 * How a state is written:
 *
 *   plain     as libtpms before 0.10 does, for every TPM
 *   profile   as libtpms 0.10 does, for TPMs that were made with it
 *   newer     as a swtpm does that came after this program
 */
export type TpmFormat = 'plain' | 'profile' | 'newer';

/** A swtpm with its libtpms. */
export type SwtpmVersion = 'old' | 'current' | 'newer';

const READS: Readonly<Record<SwtpmVersion, readonly TpmFormat[]>> = {
  old: ['plain'],
  current: ['plain', 'profile'],
  newer: ['plain', 'profile', 'newer'],
};
const MAKES: Readonly<Record<SwtpmVersion, TpmFormat>> = { old: 'plain', current: 'profile', newer: 'newer' };

export function reads(version: SwtpmVersion, { format }: TpmState): boolean {
  return READS[version].includes(format);
}

/** Whether a file begins as a newer swtpm's does, whatever a power loss has left of the rest. */
export function isOfNewerFormat(file: Uint8Array | undefined): boolean {
  return file?.[0] === NEWER_VERSION;
}

/** @param parent the state that it goes on from; `undefined` for a new TPM */
export function formatBy(version: SwtpmVersion, parent: TpmState | undefined): TpmFormat {
  return version === 'newer' || !parent ? MAKES[version] : parent.format;
}

export interface TpmState {
  readonly number: number;
  readonly format: TpmFormat;
  /** Which TPM: a blank one is another. */
  readonly tpm: number;
  readonly parent: TpmState | undefined;
  /** How many states lie before it. */
  readonly depth: number;
  /** The run that wrote it. */
  readonly run: TpmRun;
  readonly writtenAtMs: number;
}

const HEADER_BYTES = 10;
const ENTRY_HEADER_BYTES = 6;
const PERSISTENT_ALL_MAGIC = 0xab364723;
const COMPILE_CONSTANTS_MAGIC = 0xc9ea6431;
const COMPILE_CONSTANTS = 88;
const PERSISTENT_DATA_MAGIC = 0x12213443;
const PCR_POLICY_MAGIC = 0x176be626;
const SEED_BYTES = 64;
const DATA_TAG = 1;
const NEWER_VERSION = 3;
const PROFILE = '{"Name":"default-v1","StateFormatLevel":7}\0';
/** The state's number stands before the last magic. */
const NUMBER_FROM_END = 8;

export class TpmLedger {
  readonly #states: TpmState[] = [];
  readonly #blobs = new Map<TpmState, Uint8Array>();
  #tpms = 0;

  get size(): number {
    return this.#states.length;
  }

  /** Whether the domain ever had a TPM. */
  knows(uuid: DomainUuid): boolean {
    return this.#states.some(({ run }) => run.uuid === uuid);
  }

  /** The first state of a new, blank TPM. */
  blank(run: TpmRun, nowMs: number, format: TpmFormat = 'plain'): TpmState {
    this.#tpms += 1;
    return this.#add({ tpm: this.#tpms, format, parent: undefined, depth: 0, run, writtenAtMs: nowMs });
  }

  next(parent: TpmState, run: TpmRun, nowMs: number, format: TpmFormat = parent.format): TpmState {
    return this.#add({ tpm: parent.tpm, format, parent, depth: parent.depth + 1, run, writtenAtMs: nowMs });
  }

  blobOf(state: TpmState): Uint8Array {
    let blob = this.#blobs.get(state);
    if (!blob) this.#blobs.set(state, (blob = makeBlob(state)));
    return blob;
  }

  /** The state that a file holds, `undefined` unless it is that state's whole file, byte by byte. */
  stateOf(data: Uint8Array): TpmState | undefined {
    if (data.length < NUMBER_FROM_END) return undefined;
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const state = this.#states[view.getUint32(data.length - NUMBER_FROM_END) - 1];
    return state && Buffer.compare(this.blobOf(state), data) === 0 ? state : undefined;
  }

  #add(fields: Omit<TpmState, 'number'>): TpmState {
    const state = { number: this.#states.length + 1, ...fields };
    this.#states.push(state);
    return state;
  }
}

/** Whether all that is in `older` is in `newer`: it is the same state, or descends from it. */
export function contains(newer: TpmState, older: TpmState): boolean {
  let at: TpmState | undefined = newer;
  while (at && at.depth > older.depth) at = at.parent;
  return at === older;
}

export function describeState(state: TpmState | undefined): string {
  return state
    ? `state ${state.number} of TPM ${state.tpm} (run ${state.run.number} on ${state.run.host})`
    : 'no state';
}

/** Big-endian fields, one after another. */
class Writer {
  readonly #bytes: number[] = [];

  uint(width: 1 | 2 | 4, ...values: readonly number[]): this {
    for (const value of values) {
      for (let at = width - 1; at >= 0; at -= 1) this.#bytes.push((value >>> (8 * at)) & 0xff);
    }
    return this;
  }

  /** A structure's header: version, magic, oldest version that reads it. */
  header(magic: number, version = 2, oldest = 1): this {
    return this.uint(2, version).uint(4, magic).uint(2, oldest);
  }

  text(text: string): this {
    return this.uint(2, text.length).uint(1, ...Buffer.from(text));
  }

  /** A seed or a proof: never all zero. */
  seed(number: number): this {
    this.uint(2, SEED_BYTES);
    for (let at = 0; at < SEED_BYTES; at += 4) this.uint(4, (number << 8) + at + 1);
    return this;
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

function makeBlob({ number, tpm, format }: TpmState): Uint8Array {
  const payload =
    format === 'profile'
      ? new Writer().header(PERSISTENT_ALL_MAGIC, 4, 4).text(PROFILE)
      : new Writer().header(PERSISTENT_ALL_MAGIC);
  payload
    .header(COMPILE_CONSTANTS_MAGIC)
    .uint(4, COMPILE_CONSTANTS, ...new Array<number>(COMPILE_CONSTANTS).fill(0))
    .uint(1, 1)
    .uint(2, 0)
    .header(PERSISTENT_DATA_MAGIC)
    .uint(1, 0)
    .uint(2, ...new Array<number>(3 + 6).fill(0));
  for (let seed = 0; seed < 6; seed += 1) payload.seed(tpm);
  payload
    .uint(4, 0, 0, 0)
    .uint(1, 1)
    .uint(2, 1)
    .header(PCR_POLICY_MAGIC)
    .uint(4, number, PERSISTENT_ALL_MAGIC);
  const data = payload.bytes;
  const header = new Writer()
    .uint(1, format === 'newer' ? NEWER_VERSION : 2, 1)
    .uint(2, HEADER_BYTES, 0)
    .uint(4, HEADER_BYTES + ENTRY_HEADER_BYTES + data.length)
    .uint(2, DATA_TAG)
    .uint(4, data.length);
  return Buffer.concat([header.bytes, data]);
}
