/**
 * host: `swtpm-mirror host separate`: gives a copy of a machine an identity of its own.
 */
import { Command } from 'commander';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

export function hostCommand(environment: CliEnvironment): Command {
  return new Command('host').description('who this host is').addCommand(separateCommand(environment));
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
