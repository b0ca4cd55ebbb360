/**
 * hook: `swtpm-mirror hook NAME OPERATION SUBOPERATION EXTRA`: what libvirt runs at each step of a domain's life, where no agent has taken the
 * call (`hook-by-agent.ts`).
 *
 * libvirt waits for the hook without a time limit and reads its stdout and stderr to their end.
 *
 * I1 Nothing goes to stdout: at some operations libvirt takes it for the domain's new XML.
 * I2 Only what is about to start can be failed: `reconnect` and `attach` always succeed, or libvirt would kill a running domain.
 */
import type { Command } from 'commander';
import { carryOutHook, type HookedDomains } from '../agent/api/libvirt-hook.js';
import { FileJournal } from '../host/journal.js';
import { HookEvidence } from '../host/hook-evidence.js';
import { expectSavedIsNewest } from '../agent/start/saved-state.js';
import { readDomainXml } from '../libvirt/domain-xml.js';
import { actionOf, DOMAIN_XML_LENGTH_MAX, mustSucceed } from '../libvirt/hook-operation.js';
import type { Config } from '../model/config.js';
import { askAgent } from './control-client.js';
import { actOnDomain } from './domain-session.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { reportError } from './report-error.js';

export function hookCommand(environment: CliEnvironment): Command {
  return command(
    'hook <name> <operation> <suboperation> <extra>',
    "libvirt's hook: domain XML on stdin, nothing on stdout",
    'text',
  ).action(
    async (
      _name: string,
      operation: string,
      _subOperation: string,
      extra: string,
      options: CommonOptions,
    ) => {
      try {
        await carryOut(environment, { operation, extra }, options);
      } catch (error) {
        if (!mustSucceed(operation)) throw error;
        reportError(environment.terminal, error);
      }
    },
  );
}

async function carryOut(
  environment: CliEnvironment,
  call: { readonly operation: string; readonly extra: string },
  options: CommonOptions,
): Promise<void> {
  // Always to its end: libvirt counts a hook that does not read as failed.
  const xml = await environment.readInput(DOMAIN_XML_LENGTH_MAX);
  // A domain that is none of ours starts even where the configuration is broken.
  if (isNoneOfOurs(call.operation, xml)) return;
  const config = await environment.loadConfig(options.config);
  await new HookEvidence({ ...environment, runDirectory: config.runDir }).note(environment.hookCaller);
  const { fs, clock } = environment;
  const journal = new FileJournal({ fs, stateDirectory: config.stateDir });
  await carryOutHook({ fs, clock, config, journal }, withoutAgent(environment, config), call, xml);
}

function isNoneOfOurs(operation: string, xml: string): boolean {
  return actionOf(operation) === undefined || readDomainXml(xml)?.mirrored !== true;
}

function withoutAgent(environment: CliEnvironment, config: Config): HookedDomains {
  return {
    prepare: (uuid, request) => actOnDomain(environment, config, uuid, 'prepare', request),
    restoring: async (uuid, claim) => {
      const { context, close } = await environment.openContext(config, 'silent');
      await expectSavedIsNewest(context, uuid, claim).finally(close);
    },
    launched: (uuid, facts) => actOnDomain(environment, config, uuid, 'launched', facts),
    // There is nobody to tell: an agent that starts later finds the domain by itself.
    running: (uuid, facts) =>
      askAgent(config, { method: 'POST', path: `/v1/domains/${uuid}/launched`, body: facts }),
    stopped: (uuid, reason) => actOnDomain(environment, config, uuid, 'stopped', { reason }),
    // A status that an agent shows, and nobody else.
    withoutTpm: () => undefined,
    leftOut: () => undefined,
  };
}
