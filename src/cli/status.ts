/**
 * status: `swtpm-mirror status [DOMAIN] [--watch]`: this host's domains, the share, and what needs attention.
 */
import type { Command } from 'commander';
import * as z from 'zod';
import { ofAnotherShare } from '../agent/refusal.js';
import { hostStatus, recordStatus, type DomainStatus, type Status } from '../agent/status.js';
import type { Attention } from '../agent/attention.js';
import { isWrongShare, type ShareHealthReport } from '../agent/share-health.js';
import type { JournalRecord } from '../host/journal.js';
import type { Config } from '../model/config.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import { quoted } from '../model/identifiers.js';
import type { VolumeReading } from '../volume/share-store.js';
import { askAgent } from './control-client.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment, OpenContext, Terminal } from './environment.js';
import { surveyFleet, type Fleet } from './fleet.js';
import { fleetText } from './fleet-text.js';
import { command, type CommonOptions } from './options.js';
import { errorText, reportError } from './report-error.js';
import { frame } from './screen.js';
import { statusText } from './status-text.js';

type StatusOptions = CommonOptions & { readonly watch?: boolean; readonly allHosts?: boolean };

const WATCH_MS = 1000;
/** Enough to know that it is a status; the agent on this host is of our own version. */
const STATUS = z.custom<Status>((value) => typeof value === 'object' && value !== null && 'domains' in value);

export function statusCommand(environment: CliEnvironment): Command {
  return command('status [domain]', "this host's domains, the share, and what needs attention")
    .option('--watch', 'show it again every second')
    .option('--all-hosts', 'every host and volume of the share, seen from the share alone')
    .action(async (argument: string | undefined, options: StatusOptions) => {
      const config = await environment.loadConfig(options.config);
      if (options.allHosts) {
        await showFleet(environment, config, argument, options);
        return;
      }
      const uuid = argument === undefined ? undefined : await resolveDomain(environment, config, argument);
      const show = async (): Promise<void> => {
        const status = narrow(await currentStatus(environment, config), uuid);
        print(environment, status, options, statusText);
      };
      await repeat(environment, options, show);
    });
}

/** A look that fails is told, and followed by the next: who watches wants to see the trouble pass. The first one's failure may be his own. */
async function repeat(
  environment: CliEnvironment,
  { watch, json }: StatusOptions,
  show: () => Promise<void>,
): Promise<void> {
  await show();
  while (watch) {
    await environment.pause(WATCH_MS);
    await show().catch((error: unknown) => {
      showError(environment.terminal, error, json !== true);
    });
  }
}

function showError(terminal: Terminal, error: unknown, inPlace: boolean): void {
  if (inPlace && terminal.isInteractive) terminal.out(frame(errorText(error), terminal.rows));
  else reportError(terminal, error);
}

async function showFleet(
  environment: CliEnvironment,
  config: Config,
  argument: string | undefined,
  options: StatusOptions,
): Promise<void> {
  const { share, close } = await environment.openShare(config);
  try {
    await repeat(environment, options, async () => {
      const fleet = narrowFleet(await surveyFleet(share, config, environment.version), argument);
      print(environment, fleet, options, fleetText);
    });
  } finally {
    await close();
  }
}

function narrowFleet(fleet: Fleet, argument: string | undefined): Fleet {
  if (argument === undefined) return fleet;
  const volumes = fleet.volumes.filter(
    ({ uuid, name }) => uuid === argument.toLowerCase() || (argument !== '' && name === argument),
  );
  if (volumes.length > 0) return { ...fleet, volumes };
  throw new MirrorError('NO_SUCH_DOMAIN', `the share has no volume of ${quoted(argument)}`, {
    next: 'see all of them with `swtpm-mirror status --all-hosts`',
  });
}

function print<Result extends object>(
  { terminal }: CliEnvironment,
  result: Result,
  { json, watch }: StatusOptions,
  toText: (result: Result, columns: number, coloured: boolean) => string,
): void {
  if (json) {
    terminal.out(`${JSON.stringify(result, null, watch ? 0 : 2)}\n`);
    return;
  }
  const text = toText(result, terminal.isInteractive ? terminal.columns : 0, terminal.isColoured);
  terminal.out(watch && terminal.isInteractive ? frame(text, terminal.rows) : text);
}

function narrow(status: Status, uuid: string | undefined): Status {
  if (uuid === undefined) return status;
  const domains = status.domains.filter((domain) => domain.uuid === uuid);
  if (domains.length > 0) return { ...status, domains };
  throw new MirrorError('NO_SUCH_DOMAIN', `this host has no domain ${uuid}`, {
    next: 'see all of them with `swtpm-mirror status`',
  });
}

async function currentStatus(environment: CliEnvironment, config: Config): Promise<Status> {
  const answer = await askAgent(config, { method: 'GET', path: '/v1/status' });
  if (answer !== undefined) return STATUS.parse(answer);
  const opened = await environment.openContext(config, 'silent');
  try {
    return await statusWithoutAgent(opened, config);
  } finally {
    await opened.close();
  }
}

/** From the journal and a look at the share. Nothing is watched or published meanwhile, and the status says so. */
async function statusWithoutAgent({ context }: OpenContext, config: Config): Promise<Status> {
  const health = await lookAtShare(context, await context.knownShare.read());
  const { records, damaged } = await context.journal.list();
  const spooled = await context.spool.list();
  const domains: DomainStatus[] = [];
  for (const record of records) {
    const entry = spooled.find(({ uuid }) => uuid === record.uuid);
    const seen = health.state === 'online' ? await lookAtVolumeOf(context, config, record, health.id) : {};
    const status = recordStatus(context, record, entry, seen.volume);
    domains.push({
      ...status,
      attention: [...status.attention, ...(seen.error ? [toAttention(seen.error)] : [])],
    });
  }
  const running = [...(await context.running.list())];
  const attention = [...damaged.map(toAttention), ...(running.length > 0 ? [noAgent(running.length)] : [])];
  return { ...hostStatus(context, health, [], attention), domains };
}

/** One volume that cannot be read hides no other. */
async function lookAtVolumeOf(
  { share }: OpenContext['context'],
  { timing }: Config,
  record: JournalRecord,
  shareId: string,
): Promise<{ readonly volume?: VolumeReading | undefined; readonly error?: MirrorError | undefined }> {
  const { hostExpiryMs } = timing;
  const since = Number.MAX_SAFE_INTEGER;
  const error = ofAnotherShare(record, shareId);
  if (error) return { error };
  try {
    const { uuid } = record;
    return { volume: (await share.inspect({ uuid, withHead: false, since, hostExpiryMs, shareId })).volume };
  } catch (error) {
    return { error: asMirrorError(error) };
  }
}

async function lookAtShare(
  { share, clock }: OpenContext['context'],
  shareId: string | undefined,
): Promise<ShareHealthReport> {
  try {
    // Not a beat: a host without an agent must not look alive.
    const { id } = await share.identify({});
    const began = clock.monotonicMs();
    await share.identify({});
    const latencyMs = clock.monotonicMs() - began;
    return { state: 'online', id, latencyMs, beatAgeMs: undefined, error: undefined };
  } catch (error) {
    const cause = asMirrorError(error);
    const state = isWrongShare(cause) ? 'wrong' : 'offline';
    return { state, id: shareId ?? '', latencyMs: 0, beatAgeMs: undefined, error: cause };
  }
}

function noAgent(running: number): Attention {
  return {
    code: 'AGENT_UNREACHABLE',
    message: `no agent runs on this host: changes of ${String(running)} running domains are not published`,
    next: 'start it with `systemctl start swtpm-mirror`, or `swtpm-mirror agent` in the foreground',
  };
}

function toAttention({ code, message, next }: MirrorError): Attention {
  return { code, message, next };
}
