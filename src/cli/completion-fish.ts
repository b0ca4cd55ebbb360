/**
 * completion-fish: completion for fish (3.0 or newer). Pure.
 */
import { allCommands, type CommandNode, type OptionNode, type ValueNode } from './command-tree.js';

export function fishCompletion(root: CommandNode): string {
  const commands = allCommands(root);
  const valued = new Set(
    commands.flatMap(({ options }) => options.flatMap(({ long, value }) => (value ? [long] : []))),
  );
  const groups = commands.filter((node) => node.commands.length > 0).flatMap((node) => node.commands);
  return `# fish completion for swtpm-mirror, made by \`swtpm-mirror completion fish\`

# The words that lead to the command on the line, and how many arguments it has already.
function __swtpm_mirror_place
    set -l path
    set -l places 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word ${[...valued].join(' ')}
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if contains -- (string join ' ' $path $word) ${groups.map(({ path }) => quote(path.join(' '))).join(' ')}
            set -a path $word
        else
            set places (math $places + 1)
        end
    end
    string join ' ' $path $places
end

# __swtpm_mirror_at COMMAND [PLACE]: whether that is the command on the line, and this the place of its argument.
function __swtpm_mirror_at
    set -l found (string split ' ' (__swtpm_mirror_place))
    set -l places $found[-1]
    set -e found[-1]
    test "$found" = $argv[1]; or return 1
    test (count $argv) = 1; or test $places = $argv[2]
end

function __swtpm_mirror_ask
    set -l words (commandline -opc)
    set -l config
    if set -l at (contains -i -- --config $words); and set -q words[(math $at + 1)]
        set config --config $words[(math $at + 1)]
    end
    swtpm-mirror completion-domains $config 2>/dev/null </dev/null
end

function __swtpm_mirror_domains
    for line in (__swtpm_mirror_ask)
        set -l parts (string split \\t $line)
        test -z "$parts[2]"; and echo $parts[1]; or printf '%s\\t%s\\n' $parts[2] $parts[1]
    end
end

complete -c swtpm-mirror -f
${commands.flatMap(commandLines).join('\n')}
`;
}

function commandLines(node: CommandNode): string[] {
  const { path, commands, options, arguments: places } = node;
  const at = `__swtpm_mirror_at ${quote(path.join(' '))}`;
  return [
    ...commands.map(
      (child) =>
        `complete -c swtpm-mirror -n ${quote(`${at} 0`)} -a ${child.path.at(-1) ?? ''} -d ${quote(child.description)}`,
    ),
    ...options.map((option) => `complete -c swtpm-mirror -n ${quote(at)} ${optionText(option)}`),
    ...places.flatMap((place, index) => {
      const values = valueText(place);
      return values === ''
        ? []
        : [`complete -c swtpm-mirror -n ${quote(`${at} ${String(index)}`)} ${values}`];
    }),
  ];
}

function optionText({ short, long, description, value }: OptionNode): string {
  const names = `${short ? `-s ${short.slice(1)} ` : ''}-l ${long.slice(2)}`;
  const takes = value ? ` ${value.kind === 'file' ? '-r' : '-x'} ${valueText(value)}`.trimEnd() : '';
  return `${names}${takes} -d ${quote(description)}`;
}

function valueText({ kind, choices }: ValueNode): string {
  switch (kind) {
    case 'domain':
      return "-a '(__swtpm_mirror_domains)'";
    case 'uuid':
      return "-a '(__swtpm_mirror_ask)'";
    case 'file':
      return '-F';
    case 'directory':
      return "-a '(__fish_complete_directories)'";
    case 'choice':
      return `-a ${quote(choices.join(' '))}`;
    case 'any':
      return '';
  }
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
