/**
 * options: what every command has in common on its command line.
 */
import { Command } from 'commander';
import { MirrorError } from '../model/errors.js';
import { SLOT_MAX, type Slot } from '../model/generation-name.js';
import { quoted } from '../model/identifiers.js';

export interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** A command with `--config`, and `--json` when it prints results. */
export function command(
  nameAndArguments: string,
  description: string,
  prints: 'json' | 'text' = 'json',
): Command {
  const made = new Command(nameAndArguments.split(' ')[0])
    .description(description)
    .option(
      '--config <file>',
      'configuration file (default: $SWTPM_MIRROR_CONFIG or /etc/swtpm-mirror/config.toml)',
    );
  for (const word of nameAndArguments.split(' ').slice(1)) made.argument(word);
  return prints === 'json' ? made.option('--json', 'print JSON') : made;
}

/** Lets a command find a domain by its name in the volumes of the share. */
export function withAllHosts(made: Command): Command {
  return made.option('--all-hosts', 'find the domain by its name on the share, whichever host it is of');
}

/** @throws MirrorError `USAGE` */
export function parseGeneration(text: string): Slot {
  const slot = Number(text);
  if (/^\d+$/.test(text) && slot >= 1 && slot <= SLOT_MAX) return slot;
  throw new MirrorError('USAGE', `${quoted(text)} is not a generation number`, {
    next: 'give a number as `swtpm-mirror history` prints it',
  });
}
