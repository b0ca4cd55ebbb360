/**
 * man-page: the manual page, in the `man` macros, from the same commands that `--help` shows. Pure.
 */
import { allCommands, argumentText, type CommandNode, type OptionNode } from './command-tree.js';

export interface ManPage {
  readonly version: string;
  /** Of the page, as `2026-01-31`; '' for none. */
  readonly date: string;
}

const EXIT_STATUS: readonly (readonly [string, string])[] = [
  ['0', 'done'],
  ['1', 'failed'],
  ['2', 'usage or configuration; a confirmation is needed'],
  ['3', 'refused: held elsewhere, fenced, or against the policy'],
  ['4', 'the share is unavailable'],
  ['5', 'the state is invalid or damaged'],
  ['6', 'no such domain or generation'],
];

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['SWTPM_MIRROR_CONFIG', 'the configuration file, where no --config names one'],
  ['NO_COLOR', 'if set and not empty, nothing is coloured'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['/etc/swtpm-mirror/config.toml', 'configuration; every key is optional'],
  ['/etc/libvirt/hooks/qemu.d/50-swtpm-mirror', "libvirt's hook"],
  ['/var/lib/swtpm-mirror', 'journal, spool, and what restores replaced: a local disk'],
  ['/run/swtpm-mirror/control.sock', 'the control socket of the agent: HTTP, for root alone'],
];

export function manPage(root: CommandNode, { version, date }: ManPage): string {
  const leaves = allCommands(root).filter(({ commands }) => commands.length === 0);
  const common = commonOptions(leaves);
  return `${[
    `.TH SWTPM\\-MIRROR 8 "${date}" "swtpm\\-mirror ${text(version)}" "System administration"`,
    ...section('NAME', [`swtpm\\-mirror \\- ${text(root.description)}`]),
    ...section('SYNOPSIS', ['.B swtpm\\-mirror', '.I command', '.RI [ option ...]', '.RI [ argument ...]']),
    ...section('DESCRIPTION', [
      'An agent on each hypervisor mirrors the TPM state of every virtual machine to a volume on shared storage, and puts it back before the',
      'machine starts, on this host or on another.',
      'A start whose state should be there and is not, is refused: no machine gets a blank TPM in silence.',
      '.PP',
      'A domain is given by its UUID, or by its name on this host.',
      'Results go to standard output, everything else to standard error.',
      'An error is one line, with a code, and a second line with the next step.',
    ]),
    ...section('OPTIONS', [...root.options.flatMap(optionLines)]),
    ...section('OPTIONS OF MOST COMMANDS', [
      'Each command below says which of them it takes.',
      ...common.flatMap(optionLines),
    ]),
    ...section(
      'COMMANDS',
      leaves.flatMap((leaf) => commandLines(leaf, common)),
    ),
    ...section(
      'EXIT STATUS',
      EXIT_STATUS.flatMap(([status, meaning]) => entry(`.B ${status}`, meaning)),
    ),
    ...section(
      'ENVIRONMENT',
      ENVIRONMENT.flatMap(([name, meaning]) => entry(`.B ${text(name)}`, meaning)),
    ),
    ...section(
      'FILES',
      FILES.flatMap(([path, meaning]) => entry(`.I ${text(path)}`, meaning)),
    ),
    ...section('SEE ALSO', ['.BR swtpm (8),', '.BR virsh (1),', '.BR age (1)']),
  ].join('\n')}\n`;
}

/** Those that at least half of the commands take, and mean the same with. */
function commonOptions(leaves: readonly CommandNode[]): OptionNode[] {
  const all = leaves.flatMap(({ options }) => options);
  const unlike = all.filter((option, at) => all.findIndex((other) => isSame(option, other)) === at);
  return unlike.filter((option) => all.filter((other) => isSame(option, other)).length * 2 >= leaves.length);
}

function isSame(a: OptionNode, b: OptionNode): boolean {
  return a.long === b.long && a.description === b.description;
}

function section(title: string, lines: readonly string[]): string[] {
  return [`.SH ${title.includes(' ') ? `"${title}"` : title}`, ...lines];
}

function commandLines(node: CommandNode, common: readonly OptionNode[]): string[] {
  const { path, description, options, arguments: places } = node;
  const own = options.filter((option) => !common.some((other) => isSame(option, other)));
  const synopsis = [
    ...options
      .filter(({ long }) => long !== '--help')
      .map((option) => {
        const shown = bold(option.long) + (option.value ? ` ${italic(option.value.name)}` : '');
        return option.isMandatory ? shown : `[${shown}]`;
      }),
    ...places.map((place) => {
      const shown = italic(place.name);
      return argumentText(place).startsWith('[') ? `[${shown}]` : shown;
    }),
  ];
  return [
    `.SS ${quoted(path.join(' '))}`,
    `${bold(`swtpm-mirror ${path.join(' ')}`)} ${synopsis.join(' ')}`.trim(),
    '.PP',
    `${line(`${description.charAt(0).toUpperCase()}${description.slice(1)}`)}.`,
    ...places.flatMap(({ name, choices }) =>
      choices.length > 0 ? entry(`.I ${text(name)}`, `one of ${choices.join(', ')}`) : [],
    ),
    ...own.flatMap(optionLines),
  ];
}

function optionLines({ short, long, value, description }: OptionNode): string[] {
  const names = [...(short ? [bold(short)] : []), bold(long)].join(', ');
  return entry(value ? `${names} ${italic(value.name)}` : names, description);
}

function entry(tag: string, meaning: string): string[] {
  return ['.TP', tag, line(meaning)];
}

function bold(words: string): string {
  return `\\fB${text(words)}\\fR`;
}

function italic(words: string): string {
  return `\\fI${text(words)}\\fR`;
}

function quoted(words: string): string {
  return `"${text(words).replaceAll('"', '\\(dq')}"`;
}

/** Text at the beginning of a line, where a point or an apostrophe would be a request. */
function line(words: string): string {
  return text(words).replace(/^(?=[.'])/, '\\&');
}

/** What somebody may copy stays as he types it: hyphens, apostrophes and grave accents are not made typographic. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha');
}
