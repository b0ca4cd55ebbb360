/**
 * parent-channel: the storage process's way to its parent: a port, and the IPC channel of a process forked by `node-fork.ts`.
 */
import { writeSync } from 'node:fs';
import { MirrorError } from '../model/errors.js';
import type { ChildMessage } from './wire.js';

export interface ParentChannel {
  listen(listener: ParentListener): void;
  /**
   * @throws when the message cannot be cloned
   */
  send(message: ChildMessage): void;
  /** Ends this process at once. */
  exit(): void;
}

export interface ParentListener {
  /** Anything that the parent sent, unchecked. */
  message(message: unknown): void;
  /** The parent closed the channel, or is gone. */
  closed(): void;
}

const STDERR = 2;

/**
 * @throws MirrorError `USAGE` when this process was not forked with a channel
 */
export function parentChannel(): ParentChannel {
  if (!process.send) {
    throw new MirrorError('USAGE', 'the storage process needs a channel to its parent, and has none', {
      next: 'do not run it by hand: `swtpm-mirror agent` starts it',
    });
  }
  process.on('uncaughtException', (error) => {
    writeSync(STDERR, `${error.stack ?? error.message}\n`);
    exitAtOnce();
  });
  return {
    listen: (listener) => {
      process.on('message', (message) => {
        listener.message(message);
      });
      process.on('disconnect', () => {
        listener.closed();
      });
    },
    send: (message) => {
      // When the parent is gone the channel says so by `disconnect`.
      process.send?.(message, undefined, undefined, () => undefined);
    },
    exit: exitAtOnce,
  };
}

/** `process.exit` waits for threads, and one that sleeps in a hung mount never comes back. */
function exitAtOnce(): void {
  process.kill(process.pid, 'SIGKILL');
}
