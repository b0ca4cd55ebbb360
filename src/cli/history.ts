/**
 * history: `swtpm-mirror history DOMAIN`: the generations of a volume, newest first; with `--all` its whole story.
 */
import type { Command } from 'commander';
import type { HistoryEntry } from '../volume/share-store.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { textTable } from './text-table.js';

type HistoryOptions = CommonOptions & { readonly all?: boolean };

export function historyCommand(environment: CliEnvironment): Command {
  return command('history <domain>', 'the generations of a domain, newest first')
    .option('--all', 'claims, releases and diverged copies too')
    .action(async (argument: string, options: HistoryOptions) => {
      const { terminal } = environment;
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const { share, close } = await environment.openShare(config);
      try {
        const entries = (await share.history({ uuid })).filter(
          (entry) => options.all ?? entry.kind === 'publish',
        );
        terminal.out(
          options.json
            ? `${JSON.stringify(entries.map(historyJson), null, 2)}\n`
            : historyTable(entries, terminal.isInteractive ? terminal.columns : 0),
        );
      } finally {
        await close();
      }
    });
}

function historyJson({ slot, damage, ...entry }: HistoryEntry): object {
  return {
    generation: slot,
    ...entry,
    ...(damage && { damage: { code: damage.code, message: damage.message } }),
  };
}

function historyTable(entries: readonly HistoryEntry[], columns: number): string {
  const rows = entries.map((entry) => [
    String(entry.slot),
    entry.kind,
    String(entry.epoch),
    entry.host,
    entry.time.replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
    entry.reason,
    entry.bytes === undefined ? '' : String(entry.bytes),
    entry.damage ? `DAMAGED: ${entry.damage.message}` : entry.head ? 'head' : '',
  ]);
  return textTable(['GENERATION', 'KIND', 'EPOCH', 'HOST', 'TIME', 'REASON', 'BYTES', ''], rows, columns);
}
