/**
 * node-fork: the real storage process: this very program, run once more by Node with the word `storage-process`.
 *
 * A process that could not be made (no descriptors, no processes, no memory left) is told as any end
 * of one: such a child has neither a pid nor pipes nor a channel, and says so by an `error` event.
 *
 * The child gets no descriptor of ours but the IPC channel and a pipe for its stderr. libvirt waits for everybody who holds a hook's
 * stdout or stderr, and a storage process may sleep in a dead mount for hours.
 */
import { fork, type ChildProcess } from 'node:child_process';
import type { ChildChannel, ChildListener, Fork } from './child-channel.js';
import { STORAGE_PROCESS_COMMAND } from './storage-command.js';
import { STORAGE_THREADS } from './storage-limits.js';
import type { ParentMessage, StorageParameters } from './wire.js';

const STDERR_CHARACTERS_MAX = 2_000;

export interface NodeForkOptions {
  /** Absolute path of the program's entry file. */
  readonly program: string;
  readonly parameters: StorageParameters;
  /** The share that this host knows by the time of the fork. */
  readonly shareId?: () => string | undefined;
}

export function nodeFork({ program, parameters, shareId }: NodeForkOptions): Fork {
  return (listener) => {
    const child = fork(program, [STORAGE_PROCESS_COMMAND], {
      cwd: '/',
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: [],
      // Nothing of our environment: an io_uring call would keep our identity after setuid, and outlive a SIGKILL.
      env: { UV_THREADPOOL_SIZE: String(STORAGE_THREADS), UV_USE_IO_URING: '0' },
    });
    listen(child, listener);
    if (child.pid === undefined) return NO_PROCESS;
    sendTo(child, {
      kind: 'start',
      parameters: { ...parameters, shareId: shareId?.() ?? parameters.shareId },
    });
    return {
      pid: child.pid,
      send: (request) => {
        sendTo(child, request);
      },
      kill: () => {
        abandon(child);
      },
    };
  };
}

/** Of a process that was never made; its end follows. */
const NO_PROCESS: ChildChannel = { pid: undefined, send: () => undefined, kill: () => undefined };

function listen(child: ChildProcess, listener: ChildListener): void {
  const lastWords = readLastWords(child);
  let isGone = false;
  const ended = (how: string): void => {
    if (isGone) return;
    isGone = true;
    listener.ended(how);
  };
  child.on('message', (message) => {
    listener.message(message);
  });
  child.on('exit', (status, signal) => {
    const tell = (): void => {
      ended(
        [signal ?? `exit status ${String(status)}`, lastWords()].filter((part) => part !== '').join(': '),
      );
    };
    // Its last words may still be in the pipe. (Not `close` of the process: after `disconnect` it never comes.)
    if (!child.stderr || child.stderr.destroyed) tell();
    else child.stderr.once('close', tell);
  });
  child.on('error', (error) => {
    // Without a process there is no exit to wait for.
    if (child.pid === undefined) ended(error.message);
  });
  child.on('disconnect', () => {
    // A storage process that cannot be reached is of no use to anybody.
    child.kill('SIGKILL');
  });
}

/** @returns the end of what the process has printed on stderr */
function readLastWords(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-STDERR_CHARACTERS_MAX);
  });
  return () => text.trim();
}

function sendTo(child: ChildProcess, message: ParentMessage): void {
  // A channel that broke is told by `disconnect` and `exit`; the callback keeps it from being an uncaught error as well.
  child.send(message, () => undefined);
}

function abandon(child: ChildProcess): void {
  child.kill('SIGKILL');
  if (child.connected) child.disconnect();
  child.stderr?.destroy();
  child.unref();
}
