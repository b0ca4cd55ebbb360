/**
 * node-environment: the real clock, the real randomness, and where this machine is reached.
 */
import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import type { Clock, Random } from '../model/environment.js';

const NS_PER_MS = 1e6;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => Number(process.hrtime.bigint()) / NS_PER_MS,
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};

export const systemRandom: Random = {
  hex: (length) => randomBytes(length).toString('hex'),
  fraction: () => Math.random(),
};

/**
 * Its IP addresses, as they are just now: for people, to find the machine.
 *
 * @param interfaces of this machine
 * @returns none where the kernel is not to be asked: a confinement may deny the socket that it takes
 */
export function hostAddresses(interfaces = networkInterfaces): string[] {
  return Object.values(unlessDenied(interfaces))
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address);
}

function unlessDenied(interfaces: typeof networkInterfaces): ReturnType<typeof networkInterfaces> {
  try {
    return interfaces();
  } catch {
    return {};
  }
}
