/**
 * life: the end of a process, whatever becomes of its work.
 *
 * Node ends a process whose event loop has nothing left to do, with status 0, even if a promise
 * that the whole work waits for was never settled. Whoever started it would take that for success.
 *
 * I1 The exit status is a failure from the beginning, and another one only when the work said so.
 */
import { writeSync } from 'node:fs';

/** What a life begins with, and ends with unless its work comes to an end of its own. */
const UNSETTLED_STATUS = 1;
const STDERR = 2;

/** As much of `process` as is used. */
export interface ProcessEnd {
  exitCode?: number | string | null | undefined;
  on(event: 'exit', listener: () => void): unknown;
}

/**
 * Runs the work of a process. Its status becomes that of the process, which ends when nothing is
 * left to do.
 *
 * @param work gives the exit status; what it rejects with is an uncaught error, as ever
 * @param whenDone ends the process at once, where nothing that is still open may hold it up
 */
export function live(
  work: () => Promise<number>,
  whenDone?: (status: number) => void,
  owner: ProcessEnd = process,
): void {
  let isDone = false;
  owner.exitCode = UNSETTLED_STATUS;
  owner.on('exit', () => {
    if (!isDone && owner.exitCode === UNSETTLED_STATUS) tellUnsettled();
  });
  void work().then(
    (status) => {
      isDone = true;
      owner.exitCode = status;
      whenDone?.(status);
    },
    (error: unknown) => {
      isDone = true;
      throw error;
    },
  );
}

function tellUnsettled(): void {
  try {
    writeSync(
      STDERR,
      'swtpm-mirror: INTERNAL: the program had nothing left to do before its work was done\n  nothing says that it succeeded: look at the state with `swtpm-mirror status`, and report this\n',
    );
  } catch {
    // Nobody reads it any more; the status tells.
  }
}
