/**
 * overrun-timer: tell an answer that is late from one that nobody has looked at yet.
 *
 * When this process itself was stopped for a while (a paused machine, a debugger), its timers run before it reads the answers that came in
 * the meantime. So a deadline is judged a moment after it passed, when those have been read.
 */
import type { Clock } from '../model/environment.js';

/** Long enough for one turn of the event loop. */
export const ANSWER_GRACE_MS = 20;

/**
 * Calls back once, `ANSWER_GRACE_MS` after `deadlineMs` have passed.
 *
 * @returns cancels it
 */
export function onOverrun(clock: Clock, deadlineMs: number, callback: () => void): () => void {
  let cancel = clock.after(deadlineMs, () => {
    cancel = clock.after(ANSWER_GRACE_MS, callback);
  });
  return () => {
    cancel();
  };
}
