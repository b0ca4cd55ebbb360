/**
 * verify: `swtpm-mirror verify [DOMAIN] [--all]`: read back and check every generation, snapshot and diverged copy. It changes nothing.
 */
import type { Command } from 'commander';
import { ensureOwnDirectory } from '../host/node-directories.js';
import { VerifyProgress, type Finding } from '../host/verify-progress.js';
import type { Config } from '../model/config.js';
import { asMirrorError, MirrorError, type ErrorCode } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { ShareService } from '../volume/share-administration.js';
import type { VerifyResult } from '../volume/share-store.js';
import { resolveDomain, type WhereToLook } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, withAllHosts, type CommonOptions } from './options.js';

type VerifyOptions = CommonOptions & WhereToLook & { readonly all?: boolean; readonly resume?: boolean };

/** What is a finding about one volume, and no reason to leave the others unread. */
const FINDINGS: ReadonlySet<ErrorCode> = new Set(['VOLUME_DAMAGED', 'GENERATION_DAMAGED', 'SHARE_VERSION']);

export function verifyCommand(environment: CliEnvironment): Command {
  return withAllHosts(
    command('verify [domain]', 'read back and check every generation, snapshot and diverged copy'),
  )
    .option('--all', 'every volume of the share')
    .option('--resume', 'with --all: go on where an interrupted run ended')
    .action(async (argument: string | undefined, options: VerifyOptions) => {
      const config = await environment.loadConfig(options.config);
      if ((argument === undefined) !== (options.all ?? false)) {
        throw new MirrorError('USAGE', 'expected either a domain or --all', {
          next: 'see `swtpm-mirror verify --help`',
        });
      }
      const uuid =
        argument === undefined ? undefined : await resolveDomain(environment, config, argument, options);
      const { share, close } = await environment.openShare(config);
      try {
        const findings = uuid
          ? [tell(environment, toFinding(await share.verify({ uuid })), options)]
          : await verifyAll(environment, config, share, options);
        if (options.json) environment.terminal.out(`${JSON.stringify(findings, null, 2)}\n`);
        refuseDamage(findings);
      } finally {
        await close();
      }
    });
}

async function verifyAll(
  environment: CliEnvironment,
  config: Config,
  share: ShareService,
  options: VerifyOptions,
): Promise<Finding[]> {
  const { id } = await share.identify({});
  const { volumes, strays } = await share.survey({
    hostExpiryMs: config.timing.hostExpiryMs,
    shareId: undefined,
  });
  await ensureOwnDirectory(config.stateDir);
  const progress = new VerifyProgress(environment.fs, config.stateDir);
  const startedAt = new Date(environment.clock.nowMs()).toISOString();
  const findings = await progress.begin(id, startedAt, options.resume ?? false);
  for (const finding of findings) tell(environment, finding, options);
  const known = new Set(findings.map(({ uuid }) => uuid));
  let finished = false;
  try {
    for (const uuid of volumes.filter((volume) => !known.has(volume))) {
      const finding = await verifyOne(share, uuid);
      await progress.note(finding);
      findings.push(tell(environment, finding, options));
      showProgress(environment, findings, volumes.length);
    }
    finished = true;
  } finally {
    clearProgress(environment);
    await progress.end(finished);
  }
  for (const path of strays) {
    if (path.startsWith('hosts/')) continue;
    environment.terminal.err(`${path}: no volume; nothing of it was checked\n`);
  }
  return findings;
}

async function verifyOne(share: ShareService, uuid: DomainUuid): Promise<Finding> {
  try {
    return toFinding(await share.verify({ uuid }));
  } catch (error) {
    const { code, message } = asMirrorError(error);
    // Claimed for the first time, and nothing in it yet; or purged since it was listed.
    if (code === 'NO_SUCH_DOMAIN') return { uuid, checked: 0, unopened: 0, damaged: [], problems: [] };
    if (!FINDINGS.has(code)) throw error;
    return { uuid, checked: 0, unopened: 0, damaged: [], problems: [{ code, message }] };
  }
}

function toFinding({ uuid, checked, unopened, damaged, problems }: VerifyResult): Finding {
  return {
    uuid,
    checked,
    unopened,
    damaged: damaged.map(({ name, error: { code, message } }) => ({ generation: name.slot, code, message })),
    problems: problems.map(({ code, message }) => ({ code, message })),
  };
}

function tell({ terminal }: CliEnvironment, finding: Finding, { json }: VerifyOptions): Finding {
  if (json) return finding;
  const { uuid, checked, unopened, damaged, problems } = finding;
  terminal.out(`${uuid}: ${String(checked)} checked, ${String(damaged.length + problems.length)} damaged\n`);
  for (const { generation, message } of damaged) {
    terminal.out(`  generation ${String(generation)}: ${message}\n`);
  }
  if (unopened > 0) {
    terminal.out(`  ${String(unopened)} of them by their structure alone: no key of this host opens them\n`);
  }
  for (const { message } of problems) terminal.out(`  ${message}\n`);
  return finding;
}

/** On a terminal alone: one line on stderr that is written over. */
function showProgress({ terminal }: CliEnvironment, findings: readonly Finding[], all: number): void {
  if (!terminal.isInteractive) return;
  terminal.err(
    `\r${String(findings.length)} of ${String(all)} volumes, ${String(countDamage(findings))} damaged`,
  );
}

function clearProgress({ terminal }: CliEnvironment): void {
  if (terminal.isInteractive) terminal.err('\r\u001b[K');
}

function countDamage(findings: readonly Finding[]): number {
  return findings.reduce((sum, { damaged, problems }) => sum + damaged.length + problems.length, 0);
}

function refuseDamage(findings: readonly Finding[]): void {
  const count = countDamage(findings);
  if (count === 0) return;
  const isLogOnly = findings.every(({ damaged }) => damaged.length === 0);
  throw new MirrorError(
    isLogOnly ? 'VOLUME_DAMAGED' : 'GENERATION_DAMAGED',
    count === 1 ? 'one thing is damaged' : `${String(count)} things are damaged`,
    {
      next: 'whole generations can be restored by number (`swtpm-mirror restore --generation`); look for a failing disk on the server',
    },
  );
}
