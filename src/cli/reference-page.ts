/**
 * reference-page: every command with its options as Markdown, from the same source as `--help`. Pure.
 */
import { allCommands, argumentText, type CommandNode, type OptionNode } from './command-tree.js';

/** Said once, above all commands. */
const COMMON = ['--help', '--config', '--json'];

export function commandReference(root: CommandNode): string {
  return allCommands(root)
    .filter(({ commands, path }) => commands.length === 0 && path.length > 0 && path.at(-1) !== 'help')
    .map(commandText)
    .join('\n');
}

function commandText({ path, description, arguments: places, options }: CommandNode): string {
  const own = options.filter(({ long }) => !COMMON.includes(long));
  const words = ['swtpm-mirror', ...path, ...own.map(usageOf), ...places.map(argumentText)];
  const sentence = `${description.charAt(0).toUpperCase()}${description.slice(1)}.`;
  const choices = places
    .filter((place) => place.choices.length > 0)
    .map((place) => row(argumentText(place), `one of ${place.choices.join(', ')}`));
  const rows = [...choices, ...own.map((option) => row(nameOf(option), option.description))];
  const table = rows.length > 0 ? ['', '| | |', '| --- | --- |', ...rows] : [];
  return [`### ${path.join(' ')}`, '', sentence, '', '```', words.join(' '), '```', ...table, ''].join('\n');
}

function usageOf(option: OptionNode): string {
  return option.isMandatory ? nameOf(option) : `[${nameOf(option)}]`;
}

function nameOf({ long, value }: OptionNode): string {
  return value ? `${long} <${value.name}>` : long;
}

function row(name: string, meaning: string): string {
  return `| \`${name}\` | ${meaning.replaceAll('|', '\\|').replaceAll('<', '&lt;')} |`;
}
