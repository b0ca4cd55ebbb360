/**
 * forget: `swtpm-mirror forget DOMAIN`: close a volume for good without deleting anything: a start is refused until `take-over` revives it.
 */
import type { Command } from 'commander';
import { noSuchVolume } from '../volume/fetch.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { expectIdle, expectNothingSpooled } from './idle-volume.js';
import { command, type CommonOptions } from './options.js';
import { buryVolume } from './tombstone.js';

export function forgetCommand(environment: CliEnvironment): Command {
  return command(
    'forget <domain>',
    'mark a domain as forgotten: its volume keeps everything, and starts are refused',
  ).action(async (argument: string, options: CommonOptions) => {
    const config = await environment.loadConfig(options.config);
    const uuid = await resolveDomain(environment, config, argument);
    const { context, uninterrupted, close } = await environment.openContext(config, 'silent');
    try {
      await context.locks.withDomain(uuid, async () => {
        const { volume } = await expectIdle(context, uuid, 'refuse');
        if (!volume) throw noSuchVolume(uuid);
        await expectNothingSpooled(context, uuid);
        await uninterrupted(() => buryVolume(context, uuid, 'forget', volume.log.top));
      });
    } finally {
      await close();
    }
    environment.terminal.out(
      options.json
        ? `${JSON.stringify({ uuid, forgotten: true })}\n`
        : `${uuid} is forgotten; its volume keeps its last state, and \`swtpm-mirror take-over ${uuid}\` revives it\n`,
    );
  });
}
