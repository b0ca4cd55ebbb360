/**
 * capture: `swtpm-mirror capture DOMAIN`: read the state now and wait until the share has it.
 */
import type { Command } from 'commander';
import * as z from 'zod';
import { resolveDomain } from './domain-argument.js';
import { actOnDomain } from './domain-session.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

const ANSWER = z.object({ generation: z.number() });

export function captureCommand(environment: CliEnvironment): Command {
  return command('capture <domain>', 'capture and publish the state now; prints the generation').action(
    async (argument: string, options: CommonOptions) => {
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const { generation } = ANSWER.parse(await actOnDomain(environment, config, uuid, 'capture', {}));
      environment.terminal.out(
        options.json ? `${JSON.stringify({ uuid, generation })}\n` : `${String(generation)}\n`,
      );
    },
  );
}
