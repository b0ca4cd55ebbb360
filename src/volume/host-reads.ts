/**
 * host-reads: reads of what other hosts have put on the share, of which any may hang by itself: on a
 * cluster file system a dead client can keep others from the files that it had open.
 *
 * I1 A read that overruns its bound fails, and whoever asked goes on.
 * I2 While one of a host's reads hangs, no other one of that host is begun: a thread is all that a
 *    dead host takes of a storage process.
 * I3 Nobody is given what an earlier asker's read found: it may be from long before.
 */
import { MirrorError } from '../model/errors.js';
import type { HostName } from '../model/identifiers.js';
import type { ShareContext } from './share-context.js';
import { within } from './within.js';

export class HostReads {
  readonly #context: Pick<ShareContext, 'clock' | 'hostReadMs'>;
  readonly #hung = new Set<HostName>();

  constructor(context: Pick<ShareContext, 'clock' | 'hostReadMs'>) {
    this.#context = context;
  }

  /** @throws MirrorError `SHARE_TIMEOUT`; whatever `read` throws */
  async within<Result>(host: HostName, read: () => Promise<Result>): Promise<Result> {
    const { clock, hostReadMs } = this.#context;
    if (hostReadMs === undefined) return await read();
    if (this.#hung.has(host)) throw noAnswer(host, hostReadMs);
    const late = (): MirrorError => {
      this.#hung.add(host);
      return noAnswer(host, hostReadMs);
    };
    const reading = async (): Promise<Result> => {
      try {
        return await read();
      } finally {
        this.#hung.delete(host);
      }
    };
    return await within(clock, hostReadMs, reading, late);
  }
}

function noAnswer(host: HostName, ms: number): MirrorError {
  return new MirrorError(
    'SHARE_TIMEOUT',
    `the heartbeat of host ${host} had no answer from the share within ${String(ms)} ms`,
    {
      next: `if ${host} is dead, its client of the share must be evicted, or its session time out; it is tried again`,
      retriable: true,
    },
  );
}
