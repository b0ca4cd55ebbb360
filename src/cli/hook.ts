/**
 * hook: `swtpm-mirror hook NAME OPERATION SUBOPERATION EXTRA`: what libvirt runs at each step of a domain's life.
 *
 * libvirt waits for the hook without a time limit, holds the domain's lock meanwhile, and reads its stdout and stderr to their end.
 *
 * I1 Nothing goes to stdout: at some operations libvirt takes it for the domain's new XML.
 * I2 libvirt is never called from here: it waits for this very hook.
 * I3 Only what is about to start can be failed: `reconnect` and `attach` always succeed, or libvirt would kill a running domain.
 * I4 Every wait in here has a deadline of the configuration's.
 */
import type { Command } from 'commander';
import { announceIncoming, takeAnnouncement } from '../host/incoming-marker.js';
import { readStopReason } from '../libvirt/domain-log.js';
import { DOMAIN_XML_LENGTH_MAX, type DomainXml } from '../libvirt/domain-xml.js';
import { mustSucceed, readHookRequest, type HookRequest } from '../libvirt/hook-request.js';
import { nvramPathOf } from '../libvirt/nvram-path.js';
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
        // Always to its end: libvirt counts a hook that does not read as failed.
        const xml = await environment.readInput(DOMAIN_XML_LENGTH_MAX);
        const request = readHookRequest({ operation, extra }, xml);
        if (request.action !== 'none') {
          await act(environment, await environment.loadConfig(options.config), request);
        }
      } catch (error) {
        if (!mustSucceed(operation)) throw error;
        reportError(environment.terminal, error);
      }
    },
  );
}

type ActiveRequest = Exclude<HookRequest, { action: 'none' }>;

async function act(environment: CliEnvironment, config: Config, request: ActiveRequest): Promise<void> {
  const { domain, action } = request;
  if (!isInLibvirtsPlace(domain, config)) return;
  const { uuid, name } = domain;
  const marker = { fs: environment.fs, clock: environment.clock, runDirectory: config.runDir };
  const facts = { name, nvramPath: nvramPathOf(domain, config.libvirt.nvramDir) };
  switch (action) {
    case 'announce-incoming':
      await announceIncoming(marker, uuid);
      return;
    case 'prepare': {
      const incoming = await takeAnnouncement(marker, uuid);
      await actOnDomain(environment, config, uuid, 'prepare', { ...facts, incoming });
      return;
    }
    case 'launched':
      await actOnDomain(environment, config, uuid, 'launched', facts);
      return;
    case 'running':
      // Without an agent there is nobody to tell: one that starts later finds the domain by itself.
      await askAgent(config, { method: 'POST', path: `/v1/domains/${uuid}/launched`, body: facts });
      return;
    case 'released':
      await actOnDomain(environment, config, uuid, 'stopped', {
        reason: await stopReason(environment, config, request),
      });
      return;
  }
}

/** State that the domain's owner put elsewhere is not in any place that this program watches: such a domain is left alone. */
function isInLibvirtsPlace({ uuid, tpm }: DomainXml, { libvirt }: Config): boolean {
  const own = `${libvirt.swtpmDir}/${uuid}/tpm2`;
  return tpm.source === undefined || (tpm.source.type === 'dir' && tpm.source.path === own);
}

async function stopReason(
  { fs }: CliEnvironment,
  { libvirt }: Config,
  { domain, reason }: ActiveRequest,
): Promise<string> {
  return reason ?? (await readStopReason(fs, libvirt.logDir, domain.name)) ?? 'stopped';
}
