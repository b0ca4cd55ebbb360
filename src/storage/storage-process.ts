/**
 * storage-process: the other end of the storage client: the one process of a host that touches its share.
 *
 *   start → confine, open the store → ready (or failed)
 *   request → the operation of the store → one reply; requests run concurrently, the parent orders those that must not
 *   channel closed → gone at once
 *
 * I1 Nothing touches the share before this process has become who it shall be.
 * I2 It does not outlive its parent, except for a thread that sleeps in the kernel.
 */
import { asMirrorError, type ErrorRecord } from '../model/errors.js';
import type { ShareService } from '../volume/share-administration.js';
import type { ParentChannel } from './parent-channel.js';
import { isParentMessage, type Reply, type RequestMessage, type StorageParameters } from './wire.js';

export interface StorageProcessOptions {
  readonly channel: ParentChannel;
  /** Makes this process what `parameters` say: see `confineProcess`. */
  readonly confine: (parameters: StorageParameters) => void;
  /** Opens the store without touching the share. */
  readonly open: (parameters: StorageParameters) => ShareService;
}

/** Serves until the channel closes. */
export function runStorageProcess({ channel, confine, open }: StorageProcessOptions): void {
  let store: ShareService | undefined;

  const start = (parameters: StorageParameters): void => {
    try {
      confine(parameters);
      store = open(parameters);
      channel.send({ kind: 'ready' });
    } catch (error) {
      channel.send({ kind: 'failed', error: recordOf(error) });
    }
  };

  const serve = async (store: ShareService, request: RequestMessage): Promise<void> => {
    deliver(channel, await perform(store, request));
  };

  channel.listen({
    message: (message) => {
      if (!isParentMessage(message)) return;
      if (message.kind === 'start') start(message.parameters);
      else if (store) void serve(store, message);
    },
    closed: () => {
      channel.exit();
    },
  });
}

async function perform(store: ShareService, { id, operation, call }: RequestMessage): Promise<Reply> {
  try {
    // The parent's types tie the call to its operation; here that tie has gone through a pipe.
    const run = store[operation].bind(store) as (call: object) => Promise<unknown>;
    return { kind: 'result', id, result: await run(call) };
  } catch (error) {
    return { kind: 'error', id, error: recordOf(error) };
  }
}

function deliver(channel: ParentChannel, reply: Reply): void {
  try {
    channel.send(reply);
  } catch (error) {
    // A result that cannot be cloned is a fault of this program; its caller must still learn something.
    channel.send({ kind: 'error', id: reply.id, error: recordOf(error) });
  }
}

function recordOf(error: unknown): ErrorRecord {
  return asMirrorError(error).toRecord();
}
