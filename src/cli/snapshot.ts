/**
 * snapshot: `swtpm-mirror snapshot create|list|revert|delete`: generations kept under a name.
 */
import { Command } from 'commander';
import * as z from 'zod';
import { MirrorError } from '../model/errors.js';
import { parseSnapshotName, type DomainUuid, type SnapshotName } from '../model/identifiers.js';
import { noSuchVolume } from '../volume/fetch.js';
import type { Pin } from '../volume/share-administration.js';
import { confirm } from './confirm.js';
import { askAgent } from './control-client.js';
import { resolveDomain } from './domain-argument.js';
import { actOnDomain } from './domain-session.js';
import type { CliEnvironment, OpenContext } from './environment.js';
import { expectIdle } from './idle-volume.js';
import { tellLost } from './lost-parts.js';
import { command, parseGeneration, type CommonOptions } from './options.js';
import { keptText, placeContent, placedJson } from './place-content.js';
import { displayTime, textTable } from './text-table.js';
import { unreadJson, unreadText } from './unread.js';

type CreateOptions = CommonOptions & { readonly generation?: string };
type DeleteOptions = CommonOptions & { readonly yes?: boolean };

const DOMAIN_STATE = z.object({ state: z.string() });

export function snapshotCommand(environment: CliEnvironment): Command {
  return new Command('snapshot')
    .description('generations kept under a name, which no pruning takes')
    .addCommand(create(environment))
    .addCommand(list(environment))
    .addCommand(revert(environment))
    .addCommand(remove(environment));
}

function create(environment: CliEnvironment): Command {
  return command('create <domain> <name>', 'keep the state of now, or a generation, under a name')
    .option('--generation <number>', 'which generation (default: the state of now)')
    .action(async (argument: string, nameText: string, options: CreateOptions) => {
      const name = parseSnapshotName(nameText);
      const slot = options.generation === undefined ? 'head' : parseGeneration(options.generation);
      const { uuid, config } = await target(environment, argument, options);
      // The head of a domain that runs here may be a moment behind it.
      if (slot === 'head' && (await runsHere(environment, config, uuid))) {
        await actOnDomain(environment, config, uuid, 'capture', {});
      }
      const { share, close } = await environment.openShare(config);
      try {
        const pin = await share.pin({ uuid, name, slot });
        environment.terminal.out(
          options.json
            ? `${JSON.stringify({ uuid, ...pinJson(pin) })}\n`
            : `snapshot ${name} is generation ${String(pin.manifest?.slot)}\n`,
        );
      } finally {
        await close();
      }
    });
}

async function runsHere(
  environment: CliEnvironment,
  config: Awaited<ReturnType<CliEnvironment['loadConfig']>>,
  uuid: DomainUuid,
): Promise<boolean> {
  const domains = z
    .object({ domains: z.array(DOMAIN_STATE.extend({ uuid: z.string() })) })
    .safeParse(await askAgent(config, { method: 'GET', path: '/v1/status' }));
  if (domains.success) {
    return domains.data.domains.some((domain) => domain.uuid === uuid && domain.state === 'running');
  }
  const { context, close } = await environment.openContext(config, 'silent');
  try {
    return (await context.running.list()).has(uuid) || (await context.running.guest(uuid)) === 'runs';
  } finally {
    await close();
  }
}

function list(environment: CliEnvironment): Command {
  return command('list <domain>', 'the snapshots of a domain').action(
    async (argument: string, options: CommonOptions) => {
      const { uuid, config } = await target(environment, argument, options);
      const { terminal } = environment;
      const { share, close } = await environment.openShare(config);
      try {
        const pins = await share.pins({ uuid });
        terminal.out(options.json ? `${JSON.stringify(pins.map(pinJson), null, 2)}\n` : pinTable(pins));
      } finally {
        await close();
      }
    },
  );
}

function pinJson({ name, manifest, bytes, damage, inLog }: Pin): object {
  return {
    name,
    generation: manifest?.slot ?? null,
    host: manifest?.host ?? null,
    time: manifest?.time ?? null,
    reason: manifest?.reason ?? null,
    bytes: bytes ?? null,
    sha256: manifest?.digest ?? null,
    inLog,
    ...unreadJson(damage),
  };
}

/** Never cut: what stands in it is typed again. */
function pinTable(pins: readonly Pin[]): string {
  if (pins.length === 0) return 'no snapshots\n';
  const rows = pins.map(({ name, manifest, bytes, damage, inLog }) => [
    name,
    String(manifest?.slot ?? '-'),
    manifest?.host ?? '-',
    manifest ? displayTime(manifest.time) : '-',
    bytes === undefined ? '-' : String(bytes),
    damage ? unreadText(damage) : inLog ? '' : 'the only copy',
  ]);
  return textTable(['SNAPSHOT', 'GENERATION', 'HOST', 'TIME', 'BYTES', ''], rows, 0);
}

function revert(environment: CliEnvironment): Command {
  return command(
    'revert <domain> <name>',
    'publish a snapshot again as the new head of a stopped domain',
  ).action(async (argument: string, nameText: string, options: CommonOptions) => {
    const name = parseSnapshotName(nameText);
    const { uuid, config } = await target(environment, argument, options);
    const opened = await environment.openContext(config, 'silent');
    try {
      const placed = await opened.context.locks.withDomain(uuid, async () => {
        const idle = await expectIdle(opened.context, uuid, 'refuse');
        if (!idle.volume) throw noSuchVolume(uuid);
        const generation = await opened.administration.fetchPin({ uuid, name });
        tellLost(environment.terminal, generation);
        const { capture, manifest } = generation;
        return await placeContent(opened, idle, { capture, domainName: manifest.name, reason: 'revert' });
      });
      environment.terminal.out(
        options.json
          ? `${JSON.stringify({ uuid, from: name, ...placedJson(placed) })}\n`
          : `generation ${String(placed.generation)} has the content of snapshot ${name}${keptText(placed)}\n`,
      );
    } finally {
      await opened.close();
    }
  });
}

function remove(environment: CliEnvironment): Command {
  return command('delete <domain> <name>', 'let a snapshot go')
    .option('--yes', 'also when it is the only copy of its generation')
    .action(async (argument: string, nameText: string, options: DeleteOptions) => {
      const name = parseSnapshotName(nameText);
      const { uuid, config } = await target(environment, argument, options);
      const opened = await environment.openContext(config, 'silent');
      try {
        await opened.context.locks.withDomain(uuid, () => deletePin(opened, uuid, name, options.yes));
      } finally {
        await opened.close();
      }
      environment.terminal.out(
        options.json ? `${JSON.stringify({ uuid, name, deleted: true })}\n` : `snapshot ${name} is deleted\n`,
      );
    });
}

async function deletePin(
  { administration }: OpenContext,
  uuid: DomainUuid,
  name: SnapshotName,
  yes: boolean | undefined,
): Promise<void> {
  const pin = (await administration.pins({ uuid })).find((candidate) => candidate.name === name);
  if (!pin) {
    throw new MirrorError('NO_SUCH_GENERATION', `volume ${uuid} has no snapshot ${name}`, {
      next: `list the snapshots with \`swtpm-mirror snapshot list ${uuid}\``,
    });
  }
  if (!pin.inLog) {
    const what = pin.manifest
      ? `the only copy of generation ${String(pin.manifest.slot)} of ${uuid}`
      : 'perhaps the only copy of its generation, which cannot be read here';
    confirm(yes, `snapshot ${name} is ${what}`);
  }
  await administration.unpin({ uuid, name });
}

async function target(
  environment: CliEnvironment,
  argument: string,
  options: CommonOptions,
): Promise<{ uuid: DomainUuid; config: Awaited<ReturnType<CliEnvironment['loadConfig']>> }> {
  const config = await environment.loadConfig(options.config);
  return { config, uuid: await resolveDomain(environment, config, argument) };
}
