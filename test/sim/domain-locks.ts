/**
 * domain-locks: the locks of one host's domains, as proper-lockfile gives them: one holder at a time, and a dead holder's lock is free when it is stale.
 */
import type { AgentContext } from '../../src/agent/agent-context.js';
import { sleep } from '../../src/model/environment.js';
import { MirrorError } from '../../src/model/errors.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { SimulatedProcess } from './process.js';
import type { RunningProgram } from './world.js';

const STALE_MS = 10_000;
const RETRY_MS = 100;
const WAIT_MS = 30_000;

interface Lock {
  readonly holder: SimulatedProcess;
  diedAtMs: number | undefined;
}

export class SimulatedLocks {
  readonly #held = new Map<DomainUuid, Lock>();

  for({ process, clock }: RunningProgram): AgentContext['locks'] {
    return {
      withDomain: async (uuid, work) => {
        const deadlineMs = clock.monotonicMs() + WAIT_MS;
        while (!this.#isFree(uuid, clock.monotonicMs())) {
          if (clock.monotonicMs() > deadlineMs) throw busy(uuid);
          await sleep(clock, RETRY_MS);
        }
        const lock: Lock = { holder: process, diedAtMs: undefined };
        process.onEnd(() => (lock.diedAtMs = clock.monotonicMs()));
        this.#held.set(uuid, lock);
        try {
          return await work();
        } finally {
          if (this.#held.get(uuid) === lock) this.#held.delete(uuid);
        }
      },
    };
  }

  #isFree(uuid: DomainUuid, nowMs: number): boolean {
    const lock = this.#held.get(uuid);
    return !lock || (lock.diedAtMs !== undefined && nowMs - lock.diedAtMs > STALE_MS);
  }
}

function busy(uuid: DomainUuid): MirrorError {
  return new MirrorError('DOMAIN_BUSY', `cannot lock domain ${uuid}`, {
    next: 'wait for it to end',
    retriable: true,
  });
}
