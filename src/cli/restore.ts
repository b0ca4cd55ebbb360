/**
 * restore: `swtpm-mirror restore DOMAIN --to DIR`: a generation's files in a directory of their own. Never touches this host's live state.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { writeStateTree } from '../host/state-tree.js';
import { resolveDomain, type WhereToLook } from './domain-argument.js';
import { tellLost } from './lost-parts.js';
import type { CliEnvironment } from './environment.js';
import { command, parseGeneration, withAllHosts, type CommonOptions } from './options.js';

type RestoreOptions = CommonOptions &
  WhereToLook & {
    readonly to: string;
    readonly generation?: string;
    readonly fallBack?: boolean;
  };

export function restoreCommand(environment: CliEnvironment): Command {
  return withAllHosts(command('restore <domain>', "write a generation's files into a directory"))
    .requiredOption('--to <dir>', 'an empty or new directory')
    .option('--generation <number>', 'which generation (default: the head)')
    .option('--fall-back', 'pass over damaged generations to the newest older one that is whole')
    .action(async (argument: string, options: RestoreOptions) => {
      const { terminal } = environment;
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument, options);
      const slot = options.generation === undefined ? 'head' : parseGeneration(options.generation);
      const directory = resolve(options.to);
      const { context, fs, close } = await environment.openContext(config, 'silent');
      try {
        const { generation, passedOver } = await context.share.fetch({
          uuid,
          slot,
          fallBack: options.fallBack ?? false,
        });
        const files = await writeStateTree(fs, directory, generation.capture);
        tellLost(terminal, generation);
        for (const { name, error } of passedOver) {
          terminal.err(`generation ${String(name.slot)} is passed over: ${error.message}\n`);
        }
        const result = { uuid, generation: generation.name.slot, to: directory, files };
        terminal.out(
          options.json
            ? `${JSON.stringify(result)}\n`
            : files.map((file) => `${directory}/${file}\n`).join(''),
        );
      } finally {
        await close();
      }
    });
}
