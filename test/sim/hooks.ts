/**
 * hooks: what a hypervisor tells this product, and how: it asks the host's agent, or, where none runs, does the agent's work in a process of its own, as
 * `cli/domain-session.ts` does.
 *
 * I1 A call of which the agent did not live to see the end fails, whatever of it took place.
 */
import type { Prepared } from '../../src/agent/start/prepared.js';
import type { StopOutcome } from '../../src/agent/domain/ending.js';
import { expectSavedIsNewest } from '../../src/agent/start/saved-state.js';
import { Replicator } from '../../src/agent/domain/replicator.js';
import type { Supervisor } from '../../src/agent/watch/supervisor.js';
import { MirrorError } from '../../src/model/errors.js';
import type { RunClaim } from '../../src/model/run-claim.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { AgentProgram } from './agent-program.js';
import type { SimulatedProcess } from './process.js';

export interface RunningAgent {
  readonly process: SimulatedProcess;
  readonly supervisor: Supervisor;
}

export interface HookHost {
  readonly agent: () => RunningAgent | undefined;
  /** Starts a command. */
  open(): AgentProgram;
}

export class Hooks {
  readonly #host: HookHost;

  constructor(host: HookHost) {
    this.#host = host;
  }

  prepare(
    uuid: DomainUuid,
    asked: {
      readonly incoming: boolean;
      readonly nvramPath: string | undefined;
      readonly runClaim?: RunClaim | undefined;
    },
  ): Promise<Prepared> {
    const request = { name: 'guest', byHook: true, ...asked };
    return this.#act(
      uuid,
      (agent) => agent.prepare(uuid, request),
      (replicator) => replicator.prepare(request),
    );
  }

  /** The domain is about to be restored from a save file. */
  restoring(uuid: DomainUuid, claim: RunClaim | undefined): Promise<void> {
    const agent = this.#host.agent();
    if (agent) return whileItLives(agent.process, () => agent.supervisor.restoring(uuid, claim));
    const { program, context, close } = this.#host.open();
    return whileItLives(program.process, () =>
      expectSavedIsNewest(context, uuid, claim).finally(close),
    ).finally(() => {
      program.process.kill();
    });
  }

  /** The domain's processes run; of a migration's destination that says nothing yet. */
  launched(uuid: DomainUuid): Promise<void> {
    return this.#act(
      uuid,
      (agent) => agent.launched(uuid, {}),
      (replicator) => replicator.launched(),
    );
  }

  /** The domain is seen to run here. */
  started(uuid: DomainUuid): Promise<void> {
    return this.#act(
      uuid,
      (agent) => agent.started(uuid),
      (replicator) => replicator.started(),
    );
  }

  stopped(uuid: DomainUuid, reason: string): Promise<StopOutcome> {
    return this.#act(
      uuid,
      (agent) => agent.stopped(uuid, reason),
      (replicator) => replicator.stopped(reason),
    );
  }

  async #act<Result>(
    uuid: DomainUuid,
    asked: (agent: Supervisor) => Promise<Result>,
    done: (replicator: Replicator) => Promise<Result>,
  ): Promise<Result> {
    const agent = this.#host.agent();
    if (agent) return await whileItLives(agent.process, () => asked(agent.supervisor));
    const command = this.#host.open();
    const { process } = command.program;
    try {
      const here = await whileItLives(process, () => this.#actAlone(uuid, command, done));
      if (here) return here.result;
    } finally {
      process.kill();
    }
    return await this.#act(uuid, asked, done);
  }

  /** @returns `undefined` when an agent has started meanwhile */
  async #actAlone<Result>(
    uuid: DomainUuid,
    { context, close }: AgentProgram,
    done: (replicator: Replicator) => Promise<Result>,
  ): Promise<{ readonly result: Result } | undefined> {
    try {
      return await context.locks.withDomain(uuid, async () => {
        if (this.#host.agent()) return undefined;
        const replicator = new Replicator(context, uuid);
        await replicator.recall();
        try {
          return { result: await done(replicator) };
        } finally {
          await replicator.settled();
          await replicator.close();
        }
      });
    } finally {
      await close();
    }
  }
}

/** The outcome of work that a process does for another, who learns it when it dies. */
function whileItLives<Result>(process: SimulatedProcess, work: () => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cutOff = (): void => {
      reject(
        new MirrorError('AGENT_UNREACHABLE', 'the program that was asked has died', {
          next: 'start it again',
        }),
      );
    };
    if (!process.alive) cutOff();
    const forget = process.onEnd(cutOff);
    process.run(() => {
      work().then(resolve, reject).finally(forget);
    });
  });
}
