/**
 * clone: `swtpm-mirror clone SOURCE TARGET-UUID`: a volume for another domain, from the head of one that may go on running.
 *
 * The copy is the same TPM: same endorsement key, same sealed secrets. A clone that shall be a machine of its own wants a blank one, and
 * that is what no volume at all gives it (`--new-identity`).
 */
import type { Command } from 'commander';
import type { Capture } from '../model/capture.js';
import { MirrorError } from '../model/errors.js';
import { parseDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment, OpenContext, Terminal } from './environment.js';
import { expectIdle } from './idle-volume.js';
import { tellLost } from './lost-parts.js';
import { command, type CommonOptions } from './options.js';
import { placeContent } from './place-content.js';

type CloneOptions = CommonOptions & { readonly name?: string; readonly newIdentity?: boolean };

const SAME_TPM =
  'it is the same TPM: its endorsement key is duplicated, so that nobody can tell the two apart by attestation, and what is sealed to one opens with the other';
const NEW_TPM =
  'it starts with a blank TPM of its own: nothing that is sealed to the source opens there, so give it recovery keys before its first boot';

export function cloneCommand(environment: CliEnvironment): Command {
  return command('clone <source> <target-uuid>', "make a volume for another domain from a domain's head")
    .option('--name <name>', "the new domain's name")
    .option('--new-identity', 'copy nothing: the new domain starts with a blank TPM of its own')
    .action(async (argument: string, targetText: string, options: CloneOptions) => {
      const { terminal } = environment;
      const config = await environment.loadConfig(options.config);
      const source = await resolveDomain(environment, config, argument);
      const target = parseDomainUuid(targetText);
      const opened = await environment.openContext(config, 'silent');
      try {
        const generation = await opened.context.locks.withDomain(target, () =>
          clone(terminal, opened, source, target, options),
        );
        const sameIdentity = !options.newIdentity;
        const told = sameIdentity ? SAME_TPM : NEW_TPM;
        terminal.err(`${target}: ${told}\n`);
        const made = sameIdentity
          ? `generation ${String(generation)} of ${target} is a copy of the head of ${source}\n`
          : `${target} has no volume and gets its first one at its first start\n`;
        terminal.out(
          options.json ? `${JSON.stringify({ source, uuid: target, generation, sameIdentity })}\n` : made,
        );
      } finally {
        await opened.close();
      }
    });
}

/** @returns the copy's generation; 0 when nothing is copied */
async function clone(
  terminal: Terminal,
  opened: OpenContext,
  source: DomainUuid,
  target: DomainUuid,
  { name, newIdentity }: CloneOptions,
): Promise<number> {
  const { context } = opened;
  const { generation } = await context.share.fetch({ uuid: source, slot: 'head', fallBack: false });
  if (!newIdentity) tellLost(terminal, generation);
  const idle = await expectIdle(context, target, 'refuse');
  if (idle.volume) throw hasVolume(target);
  if (newIdentity) return 0;
  const capture: Capture = { ...generation.capture, uuid: target };
  return (await placeContent(opened, idle, { capture, domainName: name ?? '', reason: 'clone' })).generation;
}

function hasVolume(uuid: DomainUuid): MirrorError {
  return new MirrorError('USAGE', `${uuid} has a volume already`, {
    next: `give the UUID of a new domain; see what is there with \`swtpm-mirror history ${uuid}\``,
  });
}
