/**
 * share: `swtpm-mirror share init DIR`.
 */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

export function shareCommand(environment: CliEnvironment): Command {
  const init = command('init <dir>', 'make an empty or new directory a share').action(
    async (directory: string, options: CommonOptions) => {
      const config = await environment.loadConfig(options.config);
      const root = resolve(directory);
      const { share, close } = await environment.openShare(config, root);
      try {
        const { id } = await share.initialise({});
        environment.terminal.out(
          options.json ? `${JSON.stringify({ path: root, id })}\n` : `${root} is share ${id}\n`,
        );
      } finally {
        await close();
      }
    },
  );
  return new Command('share').description('the shared storage').addCommand(init);
}
