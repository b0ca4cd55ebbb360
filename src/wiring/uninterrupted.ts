/**
 * uninterrupted: work that a first Ctrl-C does not end in the middle. The second one does: what waits for a share may wait long.
 */
import { constants } from 'node:os';
import type { Uninterrupted } from '../cli/environment.js';
import { terminal } from './terminal.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** As a shell tells the end by a signal. */
const SIGNAL_STATUS = 128;

export const uninterrupted: Uninterrupted = async (work) => {
  let isAsked = false;
  const onSignal = (signal: (typeof SIGNALS)[number]): void => {
    if (isAsked) process.exit(SIGNAL_STATUS + constants.signals[signal]);
    isAsked = true;
    terminal.err('swtpm-mirror: ends as soon as what it has begun is complete; again to end at once\n');
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    return await work();
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
};
