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
import { Interruptible, Progress } from './progress.js';
import { strangerText } from '../agent/strangers.js';
import { counted } from './text-table.js';

type VerifyOptions = CommonOptions & WhereToLook & { readonly all?: boolean; readonly resume?: boolean };

/** What is a finding about one volume, and no reason to leave the others unread. */
const FINDINGS: ReadonlySet<ErrorCode> = new Set([
  'VOLUME_DAMAGED',
  'SHARE_TAMPERED',
  'GENERATION_DAMAGED',
  'SHARE_VERSION',
  'PLAIN_REFUSED',
]);

/** The same, where the share itself answers. */
const UNANSWERED: ReadonlySet<ErrorCode> = new Set(['SHARE_TIMEOUT', 'SHARE_UNAVAILABLE', 'SHARE_DENIED']);

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
          ? [tell(environment.terminal, toFinding(await share.verify({ uuid })), options)]
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
  const { hostExpiryMs } = config.timing;
  const { volumes, strays } = await share.survey({ hostExpiryMs, shareId: undefined });
  await ensureOwnDirectory(config.stateDir);
  const record = new VerifyProgress(environment.fs, config.stateDir);
  const startedAt = new Date(environment.clock.nowMs()).toISOString();
  const findings = await record.begin(id, startedAt, options.resume ?? false);
  const progress = new Progress(environment);
  const interruptible = new Interruptible(environment);
  for (const finding of findings) tell(progress, finding, options);
  const known = new Set(findings.map(({ uuid }) => uuid));
  let finished = false;
  try {
    for (const uuid of volumes.filter((volume) => !known.has(volume))) {
      progress.show(soFar(findings, volumes.length));
      const finding = await interruptible.step(verifyOne(share, uuid), () => ({
        message: `the check was interrupted: ${soFar(findings, volumes.length)}`,
        next: '`swtpm-mirror verify --all --resume` goes on from there',
      }));
      await record.note(finding);
      findings.push(tell(progress, finding, options));
    }
    finished = true;
  } finally {
    progress.clear();
    await record.end(finished);
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
    if (code === 'NO_SUCH_DOMAIN') {
      return { uuid, checked: 0, unopened: 0, damaged: [], problems: [], strangers: [] };
    }
    if (UNANSWERED.has(code)) await share.identify({});
    else if (!FINDINGS.has(code)) throw error;
    return { uuid, checked: 0, unopened: 0, damaged: [], problems: [{ code, message }], strangers: [] };
  }
}

function toFinding({ uuid, checked, unopened, damaged, problems, strangers }: VerifyResult): Finding {
  return {
    uuid,
    checked,
    unopened,
    damaged: damaged.map(({ name, error: { code, message } }) => ({ generation: name.slot, code, message })),
    problems: problems.map(({ code, message }) => ({ code, message })),
    strangers: [...(strangers ?? [])],
  };
}

function tell(progress: Pick<Progress, 'out'>, finding: Finding, { json }: VerifyOptions): Finding {
  if (json) return finding;
  const { uuid, checked, unopened, damaged, problems, strangers } = finding;
  const lines = [
    `${uuid}: ${String(checked)} checked, ${String(damaged.length + problems.length)} damaged`,
    ...damaged.map(({ generation, message }) => `  generation ${String(generation)}: ${message}`),
    ...(unopened > 0
      ? [`  ${String(unopened)} of them by their structure alone: no key of this host opens them`]
      : []),
    ...problems.map(({ message }) => `  ${message}`),
    ...strangers.map((host) => `  ${strangerText(host)}`),
  ];
  progress.out(lines.map((line) => `${line}\n`).join(''));
  return finding;
}

function soFar(findings: readonly Finding[], all: number): string {
  return `${String(findings.length)} of ${counted(all, 'volume')}, ${String(countDamage(findings))} damaged`;
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
