/**
 * rollback: `swtpm-mirror rollback DOMAIN GENERATION`: publish an older generation's content again, as the new head of a stopped domain.
 */
import type { Command } from 'commander';
import { MirrorError } from '../model/errors.js';
import { noSuchVolume } from '../volume/fetch.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { expectIdle } from './idle-volume.js';
import { tellLost } from './lost-parts.js';
import { command, parseGeneration, type CommonOptions } from './options.js';
import { keptText, placeContent, placedJson } from './place-content.js';

type RollbackOptions = CommonOptions & { readonly to?: string };

export function rollbackCommand(environment: CliEnvironment): Command {
  return command(
    'rollback <domain> [generation]',
    "publish an older generation's content again as the new head",
  )
    .option('--to <generation>', 'the generation, as an option')
    .action(async (argument: string, generation: string | undefined, options: RollbackOptions) => {
      const slot = parseGeneration(chosen(generation, options.to));
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const opened = await environment.openContext(config, 'silent');
      try {
        const placed = await opened.context.locks.withDomain(uuid, async () => {
          const idle = await expectIdle(opened.context, uuid, 'refuse');
          if (!idle.volume) throw noSuchVolume(uuid);
          const { generation } = await opened.context.share.fetch({ uuid, slot, fallBack: false });
          tellLost(environment.terminal, generation);
          const { capture, manifest } = generation;
          return await placeContent(opened, idle, { capture, domainName: manifest.name, reason: 'rollback' });
        });
        environment.terminal.out(
          options.json
            ? `${JSON.stringify({ uuid, from: slot, ...placedJson(placed) })}\n`
            : `generation ${String(placed.generation)} has the content of generation ${String(slot)}${keptText(placed)}\n`,
        );
      } finally {
        await opened.close();
      }
    });
}

function chosen(generation: string | undefined, to: string | undefined): string {
  const given = generation ?? to;
  if (given !== undefined && (generation === undefined || to === undefined)) return given;
  throw new MirrorError('USAGE', 'expected one generation to go back to', {
    next: 'give a number as `swtpm-mirror history` prints it',
  });
}
