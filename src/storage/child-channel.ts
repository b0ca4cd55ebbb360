/**
 * child-channel: the port through which the storage client starts, reaches and ends a storage process. `node-fork.ts` is the real one.
 */
import type { RequestMessage } from './wire.js';

export interface ChildChannel {
  /** `undefined` when the system could not start it; `ended` follows. */
  readonly pid: number | undefined;
  send(request: RequestMessage): void;
  /**
   * SIGKILL, without waiting: a process that sleeps in a hung mount goes when the mount answers. It keeps neither this process alive
   * nor any of its descriptors.
   */
  kill(): void;
}

export interface ChildListener {
  /** Anything that the process sent, unchecked. */
  message(message: unknown): void;
  /** The process is gone for good. Called once, also after `kill`. `how` reads as `exit status 1` or `SIGKILL`. */
  ended(how: string): void;
}

/** Starts a storage process. Calls the listener later, never before it returned. */
export type Fork = (listener: ChildListener) => ChildChannel;
