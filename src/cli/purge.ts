/**
 * purge: `swtpm-mirror purge DOMAIN --yes`: destroy a volume and all that this host remembers of it. Without `--yes` it says what would go.
 */
import type { Command } from 'commander';
import type { Config } from '../model/config.js';
import { asMirrorError, isVolumeUnfit, MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { ShareAdministration } from '../volume/share-administration.js';
import type { HistoryEntry, ShareStore } from '../volume/share-store.js';
import { noSuchVolume } from '../volume/fetch.js';
import { confirm } from './confirm.js';
import { askAgent } from './control-client.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment, OpenContext } from './environment.js';
import { expectClaimed, expectIdle, expectIdleHere } from './idle-volume.js';
import { command, type CommonOptions } from './options.js';
import { counted } from './text-table.js';

type PurgeOptions = CommonOptions & { readonly yes?: boolean; readonly force?: boolean };

export function purgeCommand(environment: CliEnvironment): Command {
  return command('purge <domain>', 'destroy a volume: every generation, snapshot and diverged copy')
    .option('--yes', 'do it; otherwise it only says what would go')
    .option('--force', 'also when its log is damaged, so that nobody can tell who holds it')
    .action(async (argument: string, options: PurgeOptions) => {
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const opened = await environment.openContext(config, 'silent');
      try {
        await opened.context.locks.withDomain(uuid, async () => {
          const onTopOf = await expectUnused(opened, uuid, options);
          confirm(options.yes, `purging ${uuid} destroys ${await inventory(opened, uuid)}, for good`);
          await askAgent(config, { method: 'POST', path: `/v1/domains/${uuid}/dismiss` });
          await purge(opened, uuid, onTopOf);
          await opened.forgetDomain(uuid);
        });
      } finally {
        await opened.close();
      }
      environment.terminal.out(
        options.json ? `${JSON.stringify({ uuid, purged: true })}\n` : `${uuid} is purged\n`,
      );
    });
}

/** @returns where its log ends; `undefined` for one that cannot be read; `0` when there is no volume */
async function expectUnused(
  { context }: OpenContext,
  uuid: DomainUuid,
  { force }: PurgeOptions,
): Promise<number | undefined> {
  try {
    return (await expectIdle(context, uuid, 'allow', 'allow')).volume?.log.top ?? 0;
  } catch (error) {
    const { code, message } = asMirrorError(error);
    if (!isVolumeUnfit(error)) throw error;
    if (!force) {
      throw new MirrorError(code, `${message}; so nobody can tell who holds the volume`, {
        next: 'make sure that the domain runs nowhere, then run it again with --force',
        cause: error,
      });
    }
    await expectIdleHere(context, uuid, 'allow');
    return undefined;
  }
}

async function purge(
  { context, administration }: OpenContext,
  uuid: DomainUuid,
  onTopOf: number | undefined,
): Promise<void> {
  const { hostExpiryMs } = context.config.timing;
  const shareId = await context.knownShare.read();
  try {
    const outcome = await administration.purge({
      uuid,
      hostExpiryMs,
      shareId,
      unread: onTopOf === undefined,
      ...(onTopOf !== undefined && { onTopOf }),
    });
    if (outcome.kind !== 'purged') expectClaimed(uuid, outcome);
  } catch (error) {
    // Purged from another host: what is left to forget is what this one remembers.
    const isKnownHere = (await context.journal.read(uuid)) !== undefined;
    if (asMirrorError(error).code !== 'NO_SUCH_DOMAIN' || !isKnownHere) throw error;
  }
}

async function inventory({ context, administration }: OpenContext, uuid: DomainUuid): Promise<string> {
  const parts = [
    ...(await onTheShare(context.share, administration, uuid)),
    ...((await context.spool.list()).some((entry) => entry.uuid === uuid)
      ? ["what this host's spool has of it"]
      : []),
    ...((await context.journal.read(uuid)) ? ['what this host remembers of it'] : []),
  ];
  if (parts.length === 0) await expectRemains(administration, uuid, context.config.timing);
  const last = parts.pop() ?? 'what an interrupted purge left';
  return parts.length > 0 ? `${parts.join(', ')} and ${last}` : last;
}

/** @throws MirrorError `NO_SUCH_DOMAIN` */
async function expectRemains(
  administration: ShareAdministration,
  uuid: DomainUuid,
  { hostExpiryMs }: Config['timing'],
): Promise<void> {
  const { strays } = await administration.survey({ hostExpiryMs, shareId: undefined });
  if (!strays.some((path) => path.startsWith(`purged/${uuid}-`))) throw noSuchVolume(uuid);
}

async function onTheShare(
  share: ShareStore,
  administration: ShareAdministration,
  uuid: DomainUuid,
): Promise<string[]> {
  let lines: readonly HistoryEntry[];
  let pins: number;
  try {
    pins = (await administration.pins({ uuid })).length;
    lines = await share.history({ uuid });
  } catch (error) {
    const { code } = asMirrorError(error);
    if (code === 'NO_SUCH_DOMAIN') return [];
    if (isVolumeUnfit(error)) return ['a volume whose log is damaged'];
    throw error;
  }
  const head = lines.find((line) => line.head);
  const newest = head ? ` (the newest of ${head.time})` : '';
  const count = (kind: HistoryEntry['kind']): number => lines.filter((line) => line.kind === kind).length;
  return [
    `${counted(count('publish'), 'generation')}${newest}`,
    ...(pins > 0 ? [counted(pins, 'snapshot')] : []),
    ...(count('diverged') > 0 ? [counted(count('diverged'), 'diverged copy', 'diverged copies')] : []),
  ];
}
