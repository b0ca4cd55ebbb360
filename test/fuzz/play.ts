/**
 * play: mutated specimens through a decoder, one after the other, each within bounds of time and memory.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SeededRandom } from '../sim/random.js';
import { isRefusal, type Decoder } from './decoders.js';
import { mutated } from './mutate.js';

/** Of processor time for one case; many hundred times what any takes. */
const CASE_MS_MAX = 5_000;
/** Until a case has ended, however little of the machine it gets. */
const END_MS_MAX = 60_000;
/** What may stay in memory over all cases so far. */
const GROWTH_BYTES_MAX = 64 * 1024 * 1024;
const MEMORY_EVERY = 5_000;

export interface Failure {
  readonly decoder: string;
  readonly seed: string;
  readonly what: string;
  readonly input: Buffer;
}

export interface Played {
  readonly cases: number;
  readonly refused: number;
  /** Of processor time. */
  readonly slowestMs: number;
  readonly failure: Failure | undefined;
}

/** The input of a case is a function of its seed alone. */
export function inputOf(decoder: Decoder, seed: string): Buffer {
  return mutated(decoder.specimens, new SeededRandom(`${decoder.name}/${seed}`));
}

/** @param progress is told now and then how many were played */
export async function play(
  decoder: Decoder,
  seeds: Iterable<string>,
  progress: (cases: number) => void = () => undefined,
): Promise<Played> {
  const heldBefore = await bytesHeld();
  let [cases, refused, slowestMs] = [0, 0, 0];
  const failed = (seed: string, what: string): Played => ({
    cases,
    refused,
    slowestMs,
    failure: { decoder: decoder.name, seed, what, input: inputOf(decoder, seed) },
  });
  for (const seed of seeds) {
    const input = inputOf(decoder, seed);
    const before = process.cpuUsage();
    const fault = await faultOf(decoder, input);
    const { user, system } = process.cpuUsage(before);
    const tookMs = (user + system) / 1000;
    cases++;
    slowestMs = Math.max(slowestMs, tookMs);
    if (fault === 'refused') refused++;
    else if (fault !== undefined) return failed(seed, fault);
    if (tookMs > CASE_MS_MAX) return failed(seed, `it took ${tookMs.toFixed(0)} ms`);
    if (cases % MEMORY_EVERY === 0) {
      const grown = (await bytesHeld()) - heldBefore;
      if (grown > GROWTH_BYTES_MAX) return failed(seed, `${grown} bytes more in memory than before`);
      progress(cases);
    }
  }
  return { cases, refused, slowestMs, failure: undefined };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What is still reachable: freed memory is given back to the system when it likes. */
async function bytesHeld(): Promise<number> {
  for (let times = 0; times < 3; times++) {
    collectGarbage();
    // What is freed by finalisers is freed in later turns.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** @returns `refused`, or what is wrong; `undefined` for what was decoded */
async function faultOf(decoder: Decoder, input: Buffer): Promise<string | undefined> {
  try {
    const result = decoder.decode(input);
    if (result instanceof Promise) await ended(result);
    return undefined;
  } catch (error) {
    if (isRefusal(error)) return 'refused';
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** A promise that is never settled is a fault, too. */
function ended(work: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`it came to no end within ${END_MS_MAX} ms`));
    }, END_MS_MAX);
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}

/** `first` followed by a number. */
export function* seedsFrom(first: string, cases: number): Generator<string> {
  for (let at = 0; at < cases; at++) yield `${first}${at}`;
}
