/**
 * share: `swtpm-mirror share init DIR` and `share escrow`.
 */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../model/config.js';
import { MirrorError } from '../model/errors.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

type InitOptions = CommonOptions & { readonly escrow?: string };
type EscrowOptions = CommonOptions & { readonly none?: boolean };

export function shareCommand(environment: CliEnvironment): Command {
  return new Command('share')
    .description('the shared storage')
    .addCommand(initCommand(environment))
    .addCommand(escrowCommand(environment));
}

function initCommand(environment: CliEnvironment): Command {
  return command('init <dir>', 'make an empty or new directory a share')
    .option('--escrow <recipient>', 'an age recipient that everything on it must be encrypted for')
    .action(async (directory: string, { escrow, json, config: file }: InitOptions) => {
      const config = await environment.loadConfig(file);
      if (escrow !== undefined) await expectRecipient(environment, config, escrow);
      const root = resolve(directory);
      const { share, close } = await environment.openShare(config, root);
      try {
        const { id } = await share.initialise({ escrow });
        environment.terminal.out(
          json
            ? `${JSON.stringify({ path: root, id, ...(escrow && { escrow }) })}\n`
            : `${root} is share ${id}\n`,
        );
      } finally {
        await close();
      }
    });
}

function escrowCommand(environment: CliEnvironment): Command {
  return command('escrow [recipient]', 'show, set or end the recipient that everything must be encrypted for')
    .option('--none', 'nothing is demanded from now on')
    .action(async (escrow: string | undefined, { none, json, config: file }: EscrowOptions) => {
      const config = await environment.loadConfig(file);
      if (escrow !== undefined && none) {
        throw new MirrorError('USAGE', 'expected a recipient or --none, found both', {
          next: 'see `swtpm-mirror share escrow --help`',
        });
      }
      if (escrow !== undefined) await expectRecipient(environment, config, escrow);
      const { share, close } = await environment.openShare(config);
      try {
        const isAsked = escrow === undefined && !none;
        const { id, escrow: now } = isAsked ? await share.identify({}) : await share.setEscrow({ escrow });
        const text = now === undefined ? 'demands no encryption' : `takes only what is encrypted for ${now}`;
        environment.terminal.out(
          json ? `${JSON.stringify({ id, escrow: now ?? null })}\n` : `share ${id} ${text}\n`,
        );
      } finally {
        await close();
      }
    });
}

/** @throws MirrorError `KEY_UNUSABLE` */
async function expectRecipient(environment: CliEnvironment, config: Config, escrow: string): Promise<void> {
  const encryption = { recipients: [escrow], identityFile: undefined, acceptPlain: false };
  await (await environment.openSealing({ ...config, encryption }))?.opensItsOwn();
}
