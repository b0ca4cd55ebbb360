/**
 * domain: the life cycle for a host without libvirt's hook: `domain prepare`, `domain started`, `domain stopped`.
 */
import { Command } from 'commander';
import { DOMAIN_NAME_CHARACTERS_MAX } from '../agent/domain/domain-record.js';
import { MirrorError } from '../model/errors.js';
import { parseDomainUuid, quoted } from '../model/identifiers.js';
import { plainPath } from '../model/plain-path.js';
import { actOnDomain, type Verb, type VerbFields } from './domain-session.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';

type DomainOptions = CommonOptions & Omit<VerbFields, 'nvramPath'> & { readonly nvram?: string };

export function domainCommand(environment: CliEnvironment): Command {
  const prepare = command('prepare <uuid>', 'restore the TPM state before swtpm starts, or refuse the start')
    .option('--name <name>', "the domain's name")
    .option('--nvram <file>', "the domain's NVRAM file, mirrored with its TPM")
    .option('--incoming', 'the start is an incoming migration: restore nothing');
  const started = command('started <uuid>', 'the domain runs on this host now')
    .option('--name <name>', "the domain's name")
    .option('--nvram <file>', "the domain's NVRAM file, if `prepare` was not told it");
  const stopped = command('stopped <uuid>', 'store the final state and release the volume').option(
    '--reason <reason>',
    'why it stopped, for the history',
  );
  return new Command('domain')
    .description('the life cycle of a domain on a host without libvirt')
    .addCommand(act(environment, prepare, 'prepare'))
    .addCommand(act(environment, started, 'started'))
    .addCommand(act(environment, stopped, 'stopped'));
}

function act(environment: CliEnvironment, made: Command, verb: Verb): Command {
  return made.action(async (argument: string, options: DomainOptions) => {
    const uuid = parseDomainUuid(argument);
    const config = await environment.loadConfig(options.config);
    const { config: _, json, nvram, ...fields } = options;
    checkName(fields.name);
    const nvramPath = nvram === undefined ? undefined : checkedNvram(nvram);
    const answer = await actOnDomain(environment, config, uuid, verb, { ...fields, nvramPath });
    environment.terminal.out(json ? `${JSON.stringify(answer)}\n` : '');
  });
}

/** It is read and written as root. */
function checkedNvram(text: string): string {
  const path = plainPath(text);
  if (path !== undefined) return path;
  throw new MirrorError(
    'USAGE',
    `cannot use ${quoted(text)} as NVRAM: expected an absolute path without "." and ".."`,
    { next: "give the path of the file that QEMU keeps the domain's firmware variables in" },
  );
}

function checkName(name = ''): void {
  if (name.length <= DOMAIN_NAME_CHARACTERS_MAX) return;
  const found = `${quoted(name)} has ${String(name.length)} characters`;
  throw new MirrorError(
    'USAGE',
    `cannot use the domain's name: ${found}, at most ${String(DOMAIN_NAME_CHARACTERS_MAX)} expected`,
    {
      next: 'give a shorter name, or none: the UUID alone tells domains apart',
    },
  );
}
