/**
 * status: `swtpm-mirror status [DOMAIN] [--watch]`: this host's domains, the share, and what needs attention.
 */
import type { Command } from 'commander';
import * as z from 'zod';
import type { Status } from '../agent/api/status.js';
import type { Config } from '../model/config.js';
import { MirrorError } from '../model/errors.js';
import { quoted } from '../model/identifiers.js';
import { askAgent } from './control-client.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment, Terminal } from './environment.js';
import { surveyFleet, type Fleet } from './fleet.js';
import { fleetText } from './fleet-text.js';
import { command, type CommonOptions } from './options.js';
import { errorText, reportError } from './report-error.js';
import { clearing, frame } from './screen.js';
import { statusText } from './status-text.js';
import { statusWithoutAgent } from './status-without-agent.js';

type StatusOptions = CommonOptions & { readonly watch?: boolean; readonly allHosts?: boolean };

const WATCH_MS = 1000;
/** How many times as long as a look took, at least, the share is left alone after it: each costs a request or more for every volume. */
const REST = 4;
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
  const { clock, terminal, pause } = environment;
  if (watch && !json && terminal.isInteractive) terminal.out(clearing(terminal.rows));
  let beganMs = clock.monotonicMs();
  await show();
  while (watch) {
    await pause(Math.max(WATCH_MS, REST * (clock.monotonicMs() - beganMs)));
    beganMs = clock.monotonicMs();
    await show().catch((error: unknown) => {
      showError(terminal, error, json !== true);
    });
  }
}

function showError(terminal: Terminal, error: unknown, inPlace: boolean): void {
  if (inPlace && terminal.isInteractive) terminal.out(frame([errorText(error)], terminal));
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
      const fleet = narrowFleet(await surveyFleet(environment, share, config), argument);
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
  toText: (result: Result, columns: number, coloured: boolean) => string[],
): void {
  if (json) {
    terminal.out(`${JSON.stringify(result, null, watch ? 0 : 2)}\n`);
    return;
  }
  const sections = toText(result, terminal.isInteractive ? terminal.columns : 0, terminal.isColoured);
  terminal.out(watch && terminal.isInteractive ? frame(sections, terminal) : sections.join(''));
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
  const { context, close } = await environment.openContext(config, 'silent');
  try {
    return await statusWithoutAgent(context);
  } finally {
    await close();
  }
}
