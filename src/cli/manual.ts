/**
 * manual: `swtpm-mirror manual`: prints a page of the manual that is made from the program itself.
 */
import { Command, Option } from 'commander';
import { commandTree } from './command-tree.js';
import type { CliEnvironment } from './environment.js';
import { configReference } from './first-config.js';
import { manPage } from './man-page.js';
import { commandReference } from './reference-page.js';

interface ManualOptions {
  readonly date: string;
  readonly page: 'man' | 'commands' | 'configuration';
}

export function manualCommand({ terminal, version }: CliEnvironment): Command {
  return new Command('manual')
    .description('print a page of the manual')
    .addOption(
      new Option('--page <page>', 'which page').choices(['man', 'commands', 'configuration']).default('man'),
    )
    .option('--date <date>', 'the date that the manual page bears', '')
    .action(({ date, page }: ManualOptions, made: Command) => {
      const tree = commandTree(made.parent ?? made);
      switch (page) {
        case 'man':
          terminal.out(manPage(tree, { version, date }));
          break;
        case 'commands':
          terminal.out(commandReference(tree));
          break;
        case 'configuration':
          terminal.out(configReference(''));
      }
    });
}
