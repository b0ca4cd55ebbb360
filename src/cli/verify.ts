/**
 * verify: `swtpm-mirror verify [DOMAIN] [--all]`: read back and check every generation.
 */
import type { Command } from 'commander';
import { MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { ShareStore, VerifyResult } from '../volume/share-store.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

type VerifyOptions = CommonOptions & { readonly all?: boolean };

export function verifyCommand(environment: CliEnvironment): Command {
  return command('verify [domain]', 'read back and check every generation')
    .option('--all', 'every volume of the share')
    .action(async (argument: string | undefined, options: VerifyOptions) => {
      const config = await environment.loadConfig(options.config);
      if ((argument === undefined) !== (options.all ?? false)) {
        throw new MirrorError('USAGE', 'expected either a domain or --all', {
          next: 'see `swtpm-mirror verify --help`',
        });
      }
      const named = argument === undefined ? undefined : await resolveDomain(environment, config, argument);
      const { share, close } = await environment.openShare(config);
      try {
        const results = await verifyEach(environment, share, named ? [named] : await share.list({}), options);
        refuseDamage(results);
      } finally {
        await close();
      }
    });
}

async function verifyEach(
  { terminal }: CliEnvironment,
  share: ShareStore,
  uuids: readonly DomainUuid[],
  { json }: VerifyOptions,
): Promise<VerifyResult[]> {
  const results: VerifyResult[] = [];
  for (const uuid of uuids) {
    const result = await share.verify({ uuid });
    results.push(result);
    if (json) continue;
    terminal.out(`${uuid}: ${String(result.checked)} checked, ${String(result.damaged.length)} damaged\n`);
    for (const { name, error } of result.damaged) {
      terminal.out(`  generation ${String(name.slot)}: ${error.message}\n`);
    }
  }
  if (json) terminal.out(`${JSON.stringify(results.map(verifyJson), null, 2)}\n`);
  return results;
}

function verifyJson({ uuid, checked, damaged }: VerifyResult): object {
  const items = damaged.map(({ name, error }) => ({
    generation: name.slot,
    code: error.code,
    message: error.message,
  }));
  return { uuid, checked, damaged: items };
}

function refuseDamage(results: readonly VerifyResult[]): void {
  const damaged = results.reduce((sum, result) => sum + result.damaged.length, 0);
  if (damaged === 0) return;
  throw new MirrorError('GENERATION_DAMAGED', `${String(damaged)} generations are damaged`, {
    next: 'whole ones can be restored by number (`swtpm-mirror restore --generation`); look for a failing disk on the server',
  });
}
