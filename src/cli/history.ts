/**
 * history: `swtpm-mirror history DOMAIN`: the generations of a volume, newest first; with `--all` its whole story.
 */
import type { Command } from 'commander';
import type { DomainUuid } from '../model/identifiers.js';
import type { HistoryEntry } from '../volume/share-store.js';
import { resolveDomain, type WhereToLook } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, withAllHosts, type CommonOptions } from './options.js';
import { counted, displayTime, takenText, textTable } from './text-table.js';
import { unreadJson, unreadText } from './unread.js';

type HistoryOptions = CommonOptions & WhereToLook & { readonly all?: boolean };

export function historyCommand(environment: CliEnvironment): Command {
  return withAllHosts(command('history <domain>', 'the generations of a domain, newest first'))
    .option('--all', 'claims, releases and diverged copies too')
    .action(async (argument: string, options: HistoryOptions) => {
      const { terminal } = environment;
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument, options);
      const { share, close } = await environment.openShare(config);
      try {
        const story = await share.history({ uuid });
        const entries = story.filter((entry) => options.all ?? entry.kind === 'publish');
        if (entries.length === 0 && !options.json) terminal.err(emptyText(uuid, story));
        terminal.out(
          options.json
            ? `${JSON.stringify(entries.map(historyJson), null, 2)}\n`
            : historyTable(entries, options.all ?? false),
        );
      } finally {
        await close();
      }
    });
}

function historyJson({ slot, damage, ...entry }: HistoryEntry): object {
  return { generation: slot, ...entry, ...unreadJson(damage) };
}

/** Never cut: what stands in it is typed again. */
function historyTable(entries: readonly HistoryEntry[], all: boolean): string {
  if (entries.length === 0) return '';
  const rows = entries.map((entry) => [
    String(entry.slot),
    ...(all ? [entry.kind, String(entry.epoch)] : []),
    entry.host,
    displayTime(entry.time),
    entry.reason,
    entry.bytes === undefined ? '' : String(entry.bytes),
    remarks(entry),
  ]);
  const header = ['GENERATION', ...(all ? ['KIND', 'EPOCH'] : []), 'HOST', 'TIME', 'REASON', 'BYTES', ''];
  return textTable(header, rows, 0);
}

function remarks({ damage, head, pins, from, silentMs, unread = [], stranger }: HistoryEntry): string {
  const tags = [
    ...(head ? ['head'] : []),
    ...(from === undefined ? [] : [takenText(from, silentMs)]),
    ...pins.map((name) => `snapshot ${name}`),
    ...unread.map(({ role, state, reason }) => `${role} ${state} (${reason})`),
    ...(damage ? [unreadText(damage)] : []),
    ...(stranger ? ['this host has no record on the share'] : []),
  ];
  return tags.join(', ');
}

/** What is there when nothing was ever published, newest first as the story. */
function emptyText(uuid: DomainUuid, story: readonly HistoryEntry[]): string {
  const [newest] = story;
  const diverged = story.filter(({ kind }) => kind === 'diverged').length;
  const last = newest
    ? `; its newest entry is a ${newest.kind} of ${newest.host || 'an unknown host'} (${newest.reason || 'no reason'}, ${displayTime(newest.time)})`
    : '';
  const copies = diverged > 0 ? `; it has ${counted(diverged, 'diverged copy', 'diverged copies')}` : '';
  return `the volume of ${uuid} has no generation yet${last}${copies}\n  see all of it with \`swtpm-mirror history --all ${uuid}\`\n`;
}
