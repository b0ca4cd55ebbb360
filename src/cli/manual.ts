/**
 * manual: `swtpm-mirror manual`: prints the manual page, for the script that makes a package of the program.
 */
import { Command } from 'commander';
import { commandTree } from './command-tree.js';
import type { CliEnvironment } from './environment.js';
import { manPage } from './man-page.js';

export function manualCommand({ terminal, version }: CliEnvironment): Command {
  return new Command('manual')
    .description('print the manual page')
    .option('--date <date>', 'the date that it bears', '')
    .action(({ date }: { readonly date: string }, made: Command) => {
      terminal.out(manPage(commandTree(made.parent ?? made), { version, date }));
    });
}
