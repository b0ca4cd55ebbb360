/**
 * random: the simulator's only source of chance, an sfc32 generator behind a seed.
 *
 * I1 The same seed gives the same draws.
 * I2 A fork depends on the seed and the fork's name alone, never on what was drawn before: a new consumer that forks its own stream
 *    does not shift the schedules of the others.
 */
import type { Random } from '../../src/model/environment.js';

/** Choices by weight; at least one, and no weight below 0. */
export type Weighted<Value> = readonly (readonly [weight: number, value: Value])[];

/** Bounds of a uniform draw, both included. */
export type Range = readonly [least: number, most: number];

export class SeededRandom implements Random {
  readonly #seed: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: string | number) {
    this.#seed = String(seed);
    this.#a = hash(this.#seed, 0x9e3779b9);
    this.#b = hash(this.#seed, 0x85ebca6b);
    this.#c = hash(this.#seed, 0xc2b2ae35);
    for (let round = 0; round < 12; round += 1) this.#next();
  }

  /** An independent stream of its own. */
  fork(name: string): SeededRandom {
    return new SeededRandom(`${this.#seed}/${name}`);
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return this.#next() / 4294967296;
  }

  /** A whole number from `least` to `most`, both included. */
  int(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  /** A real number in the range. */
  between([least, most]: Range): number {
    return least === most ? least : least + this.fraction() * (most - least);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.fraction() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new RangeError('cannot pick from an empty list');
    return choices[this.int(0, choices.length - 1)] as T;
  }

  weighted<T>(choices: Weighted<T>): T {
    const total = choices.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.fraction() * total;
    for (const [weight, value] of choices) {
      at -= weight;
      if (at < 0) return value;
    }
    throw new RangeError('cannot pick from an empty list');
  }

  /** `length` bytes as lower-case hexadecimal. */
  hex(length: number): string {
    let text = '';
    while (text.length < 2 * length) text += this.#next().toString(16).padStart(8, '0');
    return text.slice(0, 2 * length);
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
}

/** FNV-1a over UTF-16 units, with a final mix so that seeds differing in one digit give unlike states. */
function hash(text: string, basis: number): number {
  let value = basis;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  value = Math.imul(value ^ (value >>> 15), 0x846ca68b);
  return value ^ (value >>> 16);
}
