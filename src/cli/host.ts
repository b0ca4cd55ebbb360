/**
 * host: `swtpm-mirror host fenced NAME`: an operator, or a fence agent, declares a host dead, so that nobody
 * waits for its expiry; `swtpm-mirror host separate`: gives a copy of a machine an identity of its own.
 */
import { Command } from 'commander';
import { parseHostName } from '../model/identifiers.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

export function hostCommand(environment: CliEnvironment): Command {
  return new Command('host')
    .description('who this host is, and which hosts of the share are dead')
    .addCommand(fencedCommand(environment))
    .addCommand(separateCommand(environment));
}

function fencedCommand(environment: CliEnvironment): Command {
  return command(
    'fenced <name>',
    'declare a host dead that certainly is (powered off, fenced), so that no start waits for its expiry',
  ).action(async (name: string, options: CommonOptions) => {
    const host = parseHostName(name);
    const config = await environment.loadConfig(options.config);
    const { share, close } = await environment.openShare(config);
    try {
      await share.declareFenced({ host, shareId: undefined });
    } finally {
      await close();
    }
    environment.terminal.out(
      options.json
        ? `${JSON.stringify({ host, fenced: true })}\n`
        : `${host} counts as dead until it beats again; its VMs can be started elsewhere\n`,
    );
  });
}

function separateCommand(environment: CliEnvironment): Command {
  return command(
    'separate',
    'begin an identity of its own, on a machine that was copied from another one',
  ).action(async ({ json, config: file }: CommonOptions) => {
    const config = await environment.loadConfig(file);
    const { id, former } = await environment.separateIdentity(config);
    const told = `this host is ${id}, called ${config.host}; what it has of the domains of ${former} is judged as another host's\n`;
    environment.terminal.out(json ? `${JSON.stringify({ id, host: config.host, former })}\n` : told);
  });
}
