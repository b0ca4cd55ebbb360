/**
 * command-tree: the commands as `--help` shows them, for what is made of the same source: completions and the manual page. Pure.
 */
import type { Argument, Command, Option } from 'commander';

/** What a value on the command line is, as far as a shell can complete it. */
export type ValueKind = 'domain' | 'uuid' | 'file' | 'directory' | 'choice' | 'any';

export interface ValueNode {
  readonly name: string;
  readonly kind: ValueKind;
  /** Of a `choice`; otherwise none. */
  readonly choices: readonly string[];
}

export interface ArgumentNode extends ValueNode {
  readonly isRequired: boolean;
}

export interface OptionNode {
  readonly short: string | undefined;
  readonly long: string;
  readonly description: string;
  /** `undefined` for one that takes none. */
  readonly value: ValueNode | undefined;
  readonly isMandatory: boolean;
}

export interface CommandNode {
  /** The words after the program's name that lead here; none for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  readonly arguments: readonly ArgumentNode[];
  readonly options: readonly OptionNode[];
  readonly commands: readonly CommandNode[];
}

/** How the commands name what they take. */
const KINDS: Readonly<Record<string, ValueKind>> = {
  domain: 'domain',
  source: 'domain',
  uuid: 'uuid',
  file: 'file',
  dir: 'directory',
};

export function commandTree(command: Command, path: readonly string[] = []): CommandNode {
  const help = command.createHelp();
  return {
    path,
    description: command.description(),
    arguments: command.registeredArguments.map(argumentNode),
    options: help.visibleOptions(command).map(optionNode),
    commands: help.visibleCommands(command).map((child) => commandTree(child, [...path, child.name()])),
  };
}

/** A command and all below it, in the order of `--help`. */
export function allCommands(root: CommandNode): CommandNode[] {
  return [root, ...root.commands.flatMap(allCommands)];
}

/** As a usage line has it: `<domain>`, `[domain]`. */
export function argumentText({ name, isRequired }: ArgumentNode): string {
  return isRequired ? `<${name}>` : `[${name}]`;
}

function argumentNode(argument: Argument): ArgumentNode {
  return { ...valueNode(argument.name(), argument.argChoices), isRequired: argument.required };
}

function optionNode(option: Option): OptionNode {
  const { short, long, flags, description, argChoices, mandatory } = option;
  const [, name] = /<([^>]+)>/.exec(flags) ?? [];
  const remarks = [
    ...(argChoices ? [`one of ${argChoices.join(', ')}`] : []),
    ...(typeof option.defaultValue === 'string' ? [`default: ${option.defaultValue}`] : []),
  ];
  return {
    short,
    long: long ?? flags,
    description: remarks.length > 0 ? `${description} (${remarks.join('; ')})` : description,
    value: name === undefined ? undefined : valueNode(name, argChoices),
    isMandatory: mandatory,
  };
}

function valueNode(name: string, choices: readonly string[] = []): ValueNode {
  return { name, choices, kind: choices.length > 0 ? 'choice' : (KINDS[name] ?? 'any') };
}
