/**
 * completion-bash: completion for bash (4.2 or newer), with or without the package bash-completion. Pure.
 *
 * What the agent says of its domains is somebody's input: it is compared and quoted, never expanded, as `compgen -W` would do.
 */
import { allCommands, type CommandNode, type ValueNode } from './command-tree.js';

/** What is the same whatever the commands are. */
const FUNCTIONS = `
_swtpm_mirror_domains() {
  local current=$1 kind=$2 uuid name entry
  while IFS=$'\\t' read -r uuid name; do
    for entry in "$uuid" "$name"; do
      [[ -n $entry ]] || continue
      # A name is shorter to type; a UUID is for those who began one, and for domains and commands without names.
      if [[ $kind == uuid || -z $name ]]; then
        [[ $entry == "$uuid" ]] || continue
      elif [[ $entry == "$uuid" && -z $current ]]; then
        continue
      fi
      printf -v entry %q "$entry"
      if [[ $entry == "$current"* ]]; then COMPREPLY+=("$entry"); fi
    done
  done < <(swtpm-mirror completion-domains \${3:+--config "$3"} 2>/dev/null </dev/null)
}

_swtpm_mirror_words() {
  local word
  for word in $2; do
    if [[ $word == "$1"* ]]; then COMPREPLY+=("$word"); fi
  done
}

# _swtpm_mirror_complete WORD KIND CONFIG
_swtpm_mirror_complete() {
  case $2 in
    domain | uuid) _swtpm_mirror_domains "$1" "$2" "$3" ;;
    file | directory)
      compopt -o filenames 2>/dev/null
      local flag=-f
      [[ $2 == file ]] || flag=-d
      mapfile -t COMPREPLY < <(compgen "$flag" -- "$1")
      ;;
    choice:*) _swtpm_mirror_words "$1" "\${2#choice:}" ;;
  esac
}

_swtpm_mirror() {
  local commands options arguments path='' option='' config='' kind word i places=0 plain=0
  COMPREPLY=()
  _swtpm_mirror_at ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      # Bash takes \`--option=value\` apart.
      [[ $word != = ]] || continue
      [[ $option != --config ]] || config=$word
      option=''
    elif ((!plain)) && [[ $word == -- ]]; then
      plain=1
    elif ((!plain)) && [[ $word == -* ]]; then
      ! _swtpm_mirror_value "$path" "$word" >/dev/null || option=$word
    elif [[ " $commands " == *" $word "* ]]; then
      path=\${path:+$path }$word
      _swtpm_mirror_at "$path"
    else
      places=$((places + 1))
    fi
  done
  word=\${COMP_WORDS[COMP_CWORD]}
  [[ $word != = ]] || word=''
  if [[ -n $option ]]; then
    kind=$(_swtpm_mirror_value "$path" "$option")
    _swtpm_mirror_complete "$word" "$kind" "$config"
  elif ((!plain)) && [[ $word == -* ]]; then
    _swtpm_mirror_words "$word" "$options"
  elif [[ -n $commands ]]; then
    _swtpm_mirror_words "$word" "$commands"
  else
    _swtpm_mirror_complete "$word" "\${arguments[places]-}" "$config"
  fi
}

complete -F _swtpm_mirror swtpm-mirror
`;

export function bashCompletion(root: CommandNode): string {
  const commands = allCommands(root);
  return `# bash completion for swtpm-mirror, made by \`swtpm-mirror completion bash\`

# _swtpm_mirror_at COMMAND: its commands and options, and the kinds of its arguments.
_swtpm_mirror_at() {
  commands='' options='' arguments=()
  case $1 in
${commands.map(commandCase).join('\n')}
    *) return 1 ;;
  esac
}

# _swtpm_mirror_value COMMAND OPTION: the kind of value that follows it; fails for one that takes none.
_swtpm_mirror_value() {
  case "$1 $2" in
${commands.flatMap(valueCases).join('\n')}
    *) return 1 ;;
  esac
}
${FUNCTIONS}`;
}

function commandCase({ path, commands, options, arguments: places }: CommandNode): string {
  const names = commands.map((child) => child.path.at(-1)).join(' ');
  const flags = options.flatMap(({ short, long }) => [...(short ? [short] : []), long]).join(' ');
  const kinds = places.map((place) => `'${kindWord(place)}'`).join(' ');
  return `    '${path.join(' ')}') commands='${names}' options='${flags}' arguments=(${kinds}) ;;`;
}

function valueCases({ path, options }: CommandNode): string[] {
  return options.flatMap(({ long, value }) =>
    value ? [`    '${path.join(' ')} ${long}') echo '${kindWord(value)}' ;;`] : [],
  );
}

function kindWord({ kind, choices }: ValueNode): string {
  return kind === 'choice' ? `choice:${choices.join(' ')}` : kind;
}
