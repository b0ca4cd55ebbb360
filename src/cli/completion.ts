/**
 * completion: `swtpm-mirror completion SHELL`, and `completion-domains`, with which its script asks for this host's domains.
 *
 * Whoever presses a key is answered at once or not at all: the agent alone is asked, and neither share nor disk.
 */
import { Argument, Command } from 'commander';
import * as z from 'zod';
import { bashCompletion } from './completion-bash.js';
import { fishCompletion } from './completion-fish.js';
import { zshCompletion } from './completion-zsh.js';
import { commandTree, type CommandNode } from './command-tree.js';
import { askAgent } from './control-client.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

const PATIENCE_MS = 500;
const SCRIPTS = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
} satisfies Record<string, (root: CommandNode) => string>;
type Shell = keyof typeof SCRIPTS;

const DOMAINS = z.object({ domains: z.array(z.object({ uuid: z.string(), name: z.string() })) });

export function completionCommand({ terminal }: CliEnvironment): Command {
  const shells = new Argument('<shell>', 'which shell').choices(Object.keys(SCRIPTS));
  return new Command('completion')
    .description('print the completion script of a shell: bash, zsh or fish')
    .addArgument(shells)
    .action((shell: Shell, _options: object, made: Command) => {
      terminal.out(SCRIPTS[shell](commandTree(made.parent ?? made)));
    });
}

/** Prints a line `UUID TAB NAME` for each domain, or nothing; never fails. */
export function completionDomainsCommand(environment: CliEnvironment): Command {
  return command('completion-domains', "this host's domains, for completion scripts", 'text').action(
    async (options: CommonOptions) => {
      environment.terminal.out(await domainLines(environment, options).catch(() => ''));
    },
  );
}

async function domainLines(environment: CliEnvironment, { config: file }: CommonOptions): Promise<string> {
  const config = await environment.loadConfig(file);
  const { domains } = DOMAINS.parse(
    await askAgent(config, { method: 'GET', path: '/v1/status' }, PATIENCE_MS),
  );
  return domains.map(({ uuid, name }) => `${uuid}\t${/\p{Cc}/u.test(name) ? '' : name}\n`).join('');
}
