/**
 * state-bytes: a bounded view of a state file whose offsets stay those of the file, so that an error names the byte to look at. It
 * never copies, and it never puts state into a message: a message carries the numbers that the parser chose to show.
 */
import { stateFault, type StateFault } from './state-fault.js';

const LOOK_AT_HISTORY = 'restore it from the volume; `swtpm-mirror history DOMAIN` lists its generations';

export class StateBytes {
  readonly #name: string;
  readonly #file: Uint8Array;
  readonly #view: DataView;
  /** Offset in the file of the first byte of this view. */
  readonly start: number;
  /** Offset in the file of the first byte behind this view. */
  readonly end: number;

  /**
   * @param name the file's name, for messages
   */
  constructor(name: string, file: Uint8Array, start = 0, end = file.length) {
    this.#name = name;
    this.#file = file;
    this.#view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    this.start = start;
    this.end = end;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** The part of this view from one offset of the file to another. */
  part(start: number, end: number): StateBytes {
    this.#expectWithin(start, end - start, 'part');
    return new StateBytes(this.#name, this.#file, start, end);
  }

  /** The bytes themselves, shared with the file. */
  bytes(start = this.start, end = this.end): Uint8Array {
    this.#expectWithin(start, end - start, 'bytes');
    return this.#file.subarray(start, end);
  }

  uint8(offset: number, what: string): number {
    this.#expectWithin(offset, 1, what);
    return this.#view.getUint8(offset);
  }

  uint16(offset: number, what: string): number {
    this.#expectWithin(offset, 2, what);
    return this.#view.getUint16(offset);
  }

  uint32(offset: number, what: string): number {
    this.#expectWithin(offset, 4, what);
    return this.#view.getUint32(offset);
  }

  /** Whether every byte of this view is zero. */
  get isZero(): boolean {
    return this.bytes().every((byte) => byte === 0);
  }

  /**
   * @param fault what the problem says of the state
   * @throws MirrorError that tells of it, always
   */
  reject(problem: string, fault: StateFault = 'damaged', next = LOOK_AT_HISTORY): never {
    throw stateFault(fault, `validate ${this.#name}: ${problem}`, { next });
  }

  #expectWithin(offset: number, length: number, what: string): void {
    if (offset >= this.start && length >= 0 && offset + length <= this.end) return;
    const room = Math.max(0, this.end - offset);
    this.reject(`${what} at byte ${offset}: ${room} of ${length} bytes present`);
  }
}
