/**
 * storage-fork: storage processes on a simulated host: the real storage process behind the real client, each in a process of its own, over pipes that
 * take a moment.
 *
 * Whoever kills one learns of its end at once while the share answers it; one that sleeps in a hung mount may stay until the share answers again.
 */
import type { HostIdentity } from '../../src/model/host-identity.js';
import type { ChildChannel, ChildListener, Fork } from '../../src/storage/child-channel.js';
import type { ParentListener } from '../../src/storage/parent-channel.js';
import { runStorageProcess } from '../../src/storage/storage-process.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { RunningProgram } from './world.js';

const PIPE_MS = 0.05;
const STARTUP_MS = 20;
const REAP_MS = 1;
const LOOK_AGAIN_MS = 500;
/** How long one host's heartbeat may take to be read before others go on without it. */
const HOST_READ_MS = 700;
/** How often a killed process sleeps on in a share that does not answer. */
const STUCK_CHANCE = 0.5;

export interface StorageForkOptions {
  readonly root: string;
  readonly self: HostIdentity;
  /** After which silence a host counts as dead, ms. */
  readonly expiryMs: number;
  readonly parent: RunningProgram;
  readonly start: () => RunningProgram;
  /** Whether the share answers this host. */
  readonly isReachable: () => boolean;
}

export function storageFork(options: StorageForkOptions): Fork {
  let forks = 0;
  return (listener) => fork(options, (forks += 1), listener);
}

function fork(options: StorageForkOptions, pid: number, listener: ChildListener): ChildChannel {
  const { parent } = options;
  const child = options.start();
  const toParent = (turn: () => void): void => {
    parent.clock.after(PIPE_MS, turn);
  };
  let served: ParentListener | undefined;
  const toChild = (message: object): void => {
    child.clock.after(PIPE_MS, () => served?.message(message));
  };
  const forgetParent = parent.process.onEnd(() => {
    child.clock.after(PIPE_MS, () => served?.closed());
  });
  child.process.onEnd(() => {
    forgetParent();
    tellEnd(options, listener);
  });
  child.clock.after(STARTUP_MS, () => {
    runStorageProcess({
      channel: {
        listen: (its) => {
          served = its;
        },
        send: (message) => {
          toParent(() => {
            listener.message(message);
          });
        },
        exit: () => {
          child.process.kill();
        },
      },
      confine: () => undefined,
      open: ({ root, self, expiryMs }) =>
        createLocalShareStore({
          fs: child.share,
          root,
          self,
          expiryMs,
          hostReadMs: HOST_READ_MS,
          clock: child.clock,
          random: child.random,
        }),
    });
    const { root, self, expiryMs } = options;
    toChild({ kind: 'start', parameters: { root, self, expiryMs, uid: 0, gid: 0 } });
  });
  return {
    pid,
    send: toChild,
    kill: () => {
      child.process.kill();
    },
  };
}

function tellEnd({ parent, isReachable }: StorageForkOptions, listener: ChildListener): void {
  const sleeps = !isReachable() && parent.random.fraction() < STUCK_CHANCE;
  const look = (): void => {
    if (sleeps && !isReachable()) parent.clock.after(LOOK_AGAIN_MS, look);
    else listener.ended('SIGKILL');
  };
  parent.clock.after(REAP_MS, look);
}
