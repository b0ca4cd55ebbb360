/**
 * operator: what a person does where the program refused to choose: `swtpm-mirror resolve`, by its own
 * command, on a simulated host.
 */
import { resolveCommand } from '../../src/cli/resolve.js';
import type { CliEnvironment, OpenContext } from '../../src/cli/environment.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { AgentHost } from './agent-host.js';
import type { AgentProgram } from './agent-program.js';
import type { Domain, Site } from './site.js';

/** What a domain goes on with. */
export type Choice = 'head' | 'local' | 'diverged';

/** @returns `undefined` where the host has no power, or a job on the domain is under way */
export function resolveByHand(
  site: Site,
  host: AgentHost,
  domain: Domain,
  keep: Choice,
): Promise<boolean> | undefined {
  const { hypervisor, local } = host;
  const { uuid } = domain;
  return hypervisor?.job(domain, async () => {
    const lay = local.state(uuid);
    const chosen = keep === 'local' ? lay : undefined;
    site.oracle.resolving(uuid, keep);
    const program = host.command();
    try {
      await program.program.process.whileAlive(run(program, uuid, keep));
      site.oracle.resolved(uuid, host.name, chosen);
      if (lay) site.oracle.expectKept(uuid, host.name, lay);
      site.coverage.count(`resolved: ${keep}`);
      return true;
    } catch (error) {
      site.told(host.name, 'resolve', error);
      return false;
    } finally {
      program.program.process.kill();
    }
  });
}

async function run(program: AgentProgram, uuid: DomainUuid, keep: Choice): Promise<void> {
  const { context, administration, forgetDomain, close } = program;
  const { config } = context;
  const opened: Pick<OpenContext, 'context' | 'administration' | 'forgetDomain' | 'uninterrupted' | 'close'> =
    {
      context,
      administration,
      forgetDomain,
      uninterrupted: (work) => work(),
      close,
    };
  const silent = (): void => undefined;
  const environment = {
    terminal: { out: silent, err: silent },
    loadConfig: () => Promise.resolve(config),
    openContext: () => Promise.resolve(opened),
  } as unknown as CliEnvironment;
  await resolveCommand(environment).parseAsync([uuid, '--keep', keep], { from: 'user' });
}
