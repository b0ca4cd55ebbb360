/**
 * node-environment: the real clock and the real randomness.
 */
import { randomBytes } from 'node:crypto';
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
