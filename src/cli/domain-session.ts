/**
 * domain-session: one domain's life cycle for a command: asked of the agent, or, where none runs, done in this process.
 *
 * I1 Without an agent the work is done under the domain's lock, and only after a second look has shown that no agent started
 *    meanwhile; an agent that starts later waits for that lock before it takes the domain up.
 * I2 (G8) The share is remembered before anything is done on it: a host on which no agent ever runs refuses another one in its place all the same.
 */
import { rememberShare } from '../agent/share/remember-share.js';
import { Replicator } from '../agent/domain/replicator.js';
import type { CarriedState } from '../bundle/metadata-element.js';
import type { OwnTpmDirectory } from '../libvirt/domain-care.js';
import type { Config } from '../model/config.js';
import type { NvramForm } from '../model/nvram.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { LocalStatePolicy } from '../model/restore-plan.js';
import type { RunClaim } from '../model/run-claim.js';
import { askAgent } from './control-client.js';
import type { CliEnvironment } from './environment.js';

export type Verb = 'prepare' | 'started' | 'launched' | 'stopped' | 'capture';

export interface VerbFields {
  readonly name?: string | undefined;
  readonly nvramPath?: string | null | undefined;
  readonly nvram?: NvramForm | null | undefined;
  readonly tpm?: OwnTpmDirectory | null | undefined;
  readonly incoming?: boolean;
  readonly carried?: CarriedState | undefined;
  readonly runClaim?: RunClaim | undefined;
  /** Who is right where somebody else put a state in place. */
  readonly localState?: LocalStatePolicy | undefined;
  readonly byHook?: boolean;
  readonly reason?: string;
}

/** @returns what the agent's control socket answers for the same verb */
export async function actOnDomain(
  environment: CliEnvironment,
  config: Config,
  uuid: DomainUuid,
  verb: Verb,
  fields: VerbFields,
): Promise<unknown> {
  const ask = (): Promise<unknown> =>
    askAgent(config, { method: 'POST', path: `/v1/domains/${uuid}/${verb}`, body: fields });
  return (await ask()) ?? (await actWithoutAgent(environment, config, uuid, verb, fields)) ?? (await ask());
}

/** @returns `undefined` when an agent has started meanwhile */
async function actWithoutAgent(
  environment: CliEnvironment,
  config: Config,
  uuid: DomainUuid,
  verb: Verb,
  fields: VerbFields,
): Promise<object | undefined> {
  const { context, close } = await environment.openContext(config, 'silent');
  try {
    return await context.locks.withDomain(uuid, async () => {
      if ((await askAgent(config, { method: 'GET', path: '/healthz' })) !== undefined) return undefined;
      // What keeps it from being remembered keeps the work below from being done, too, and that tells it in its own words.
      await rememberShare(context).catch(() => undefined);
      const replicator = new Replicator(context, uuid);
      await replicator.recall();
      const running = (await context.running.list()).has(uuid);
      try {
        return await actHere(replicator, verb, fields, running);
      } finally {
        await replicator.settled();
        await replicator.close();
      }
    });
  } finally {
    await close();
  }
}

async function actHere(
  replicator: Replicator,
  verb: Verb,
  fields: VerbFields,
  running: boolean,
): Promise<object> {
  switch (verb) {
    case 'prepare': {
      const { decision, published } = await replicator.prepare({
        name: fields.name ?? '',
        nvramPath: fields.nvramPath,
        nvram: fields.nvram,
        tpm: fields.tpm ?? undefined,
        incoming: fields.incoming ?? false,
        carried: fields.carried,
        runClaim: fields.runClaim,
        localState: fields.localState,
        byHook: fields.byHook ?? false,
      });
      return { decision, generation: published?.slot ?? 0 };
    }
    case 'started':
      replicator.learn(fields);
      await replicator.started();
      return {};
    case 'launched':
      replicator.learn(fields);
      await replicator.launched();
      return {};
    case 'stopped':
      return { outcome: await replicator.stopped(fields.reason ?? 'stopped') };
    case 'capture':
      if (running) await replicator.started();
      return { generation: await replicator.captureNow() };
  }
}
