/**
 * completion-zsh: completion for zsh: a function for each command, of the kind that `_arguments` understands. Pure.
 */
import {
  allCommands,
  type ArgumentNode,
  type CommandNode,
  type OptionNode,
  type ValueNode,
} from './command-tree.js';

export function zshCompletion(root: CommandNode): string {
  return `#compdef swtpm-mirror
# zsh completion for swtpm-mirror, made by \`swtpm-mirror completion zsh\`

_swtpm-mirror-ask() {
  local config=\${opt_args[--config]-}
  reply=("\${(@f)$(swtpm-mirror completion-domains \${config:+--config "$config"} 2>/dev/null </dev/null)}")
  reply=(\${reply:#})
}

_swtpm-mirror-domains() {
  local -a reply domains
  local line
  _swtpm-mirror-ask
  for line in $reply; do
    # A name is shorter to type; a UUID is for domains without one, and for those who began one.
    [[ -z \${line#*$'\\t'} ]] || domains+=("\${\${line#*$'\\t'}}")
    [[ -n \${line#*$'\\t'} && -z $PREFIX ]] || domains+=("\${line%%$'\\t'*}")
  done
  _wanted domains expl domain compadd -a domains
}

_swtpm-mirror-uuids() {
  local -a reply
  _swtpm-mirror-ask
  _wanted domains expl domain compadd -- \${reply%%$'\\t'*}
}
${allCommands(root).map(commandFunction).join('')}
if [[ $funcstack[1] == _swtpm-mirror ]]; then
  _swtpm-mirror "$@"
else
  compdef _swtpm-mirror swtpm-mirror
fi
`;
}

function commandFunction(node: CommandNode): string {
  return node.commands.length > 0 ? groupFunction(node) : leafFunction(node);
}

function leafFunction({ path, options, arguments: places }: CommandNode): string {
  const specifications = [...options.flatMap(optionWords), ...places.map(placeWord)];
  return `
${functionName(path)}() {
  _arguments -S${specifications.map((word) => ` \\\n    ${word}`).join('')}
}
`;
}

function groupFunction({ path, options, commands }: CommandNode): string {
  const names = commands.map((child) => ({ name: child.path.at(-1) ?? '', child }));
  return `
${functionName(path)}() {
  local curcontext=$curcontext state result=1
  local -a line commands
  local -A opt_args
  _arguments -C${options
    .flatMap(optionWords)
    .map((word) => ` \\\n    ${word}`)
    .join('')} \\
    '1: :->command' \\
    '*:: :->rest' && result=0
  case $state in
    (command)
      commands=(
${names.map(({ name, child }) => `        ${quote(`${name}:${child.description}`)}`).join('\n')}
      )
      _describe -t commands command commands && result=0
      ;;
    (rest)
      case $line[1] in
${names.map(({ name, child }) => `        (${name}) ${functionName(child.path)} && result=0 ;;`).join('\n')}
      esac
      ;;
  esac
  return result
}
`;
}

function functionName(path: readonly string[]): string {
  return ['_swtpm-mirror', ...path].join('-');
}

/** Of a short and a long form each excludes the other. */
function optionWords({ short, long, description, value }: OptionNode): string[] {
  const rest = `[${description.replaceAll(/[[\]\\:]/g, '\\$&')}]${value ? `:${value.name}:${action(value)}` : ''}`;
  if (short === undefined) return [quote(`${long}${rest}`)];
  return [short, long].map((name) => quote(`(${short} ${long})${name}${rest}`));
}

function placeWord(place: ArgumentNode, index: number): string {
  return quote(`${String(index + 1)}:${place.isRequired ? '' : ':'}${place.name}:${action(place)}`);
}

function action({ kind, choices }: ValueNode): string {
  switch (kind) {
    case 'domain':
      return '_swtpm-mirror-domains';
    case 'uuid':
      return '_swtpm-mirror-uuids';
    case 'file':
      return '_files';
    case 'directory':
      return '_files -/';
    case 'choice':
      return `(${choices.join(' ')})`;
    case 'any':
      return ' ';
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
