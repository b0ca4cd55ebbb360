/**
 * doctor: `swtpm-mirror doctor`: whether everything is as it should be on this host, each finding with its next step.
 *
 * It changes nothing but files of its own on the share, not this host's heartbeat either, and can be run beside an agent. Exit status: 0 when nothing needs
 * attention, else that of the first problem, or 1 for warnings alone.
 */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { FileKnownShare } from '../host/known-share.js';
import type { Config } from '../model/config.js';
import { MirrorError } from '../model/errors.js';
import { problem, ok, type Finding } from './doctor-finding.js';
import { checkKeys } from './doctor-keys.js';
import { checkHost } from './doctor-host.js';
import { checkHosts, checkIdentity } from './doctor-hosts.js';
import { checkLibvirt } from './doctor-libvirt.js';
import { checkMount, checkShare } from './doctor-share.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { painter, type Colour } from './paint.js';
import { counted, foldedText, printable } from './text-table.js';

const MOUNT_TABLE = '/proc/self/mountinfo';
const INDENT = 4;
const MARKS: Readonly<Record<Finding['verdict'], readonly [Colour, string]>> = {
  ok: ['green', 'ok'],
  warning: ['yellow', '!'],
  problem: ['red', 'NO'],
};

export function doctorCommand(environment: CliEnvironment): Command {
  return command('doctor', 'check the share, libvirt and this host; each finding with its next step').action(
    async (options: CommonOptions) => {
      const findings = await examineAll(environment, options);
      const { terminal } = environment;
      terminal.out(options.json ? `${JSON.stringify({ findings }, null, 2)}\n` : text(environment, findings));
      expectNothing(findings);
    },
  );
}

async function examineAll(environment: CliEnvironment, options: CommonOptions): Promise<Finding[]> {
  let config: Config;
  try {
    config = await environment.loadConfig(options.config);
  } catch (error) {
    return [problem('configuration', error)];
  }
  const configured = ok('configuration', `host ${config.host}, placement ${config.placement}`);
  return [
    configured,
    await examineIdentity(environment, config),
    ...checkMount(config, await readFile(MOUNT_TABLE, 'utf8')),
    await checkKeys(environment, config),
    ...(await examineShare(environment, config)),
    ...(await checkLibvirt(config, environment.clock)),
    ...(await checkHost(config, environment.fs)),
  ];
}

async function examineIdentity(environment: CliEnvironment, config: Config): Promise<Finding> {
  try {
    return checkIdentity(await environment.peekIdentity(config));
  } catch (error) {
    return problem('identity', error);
  }
}

async function examineShare(environment: CliEnvironment, config: Config): Promise<Finding[]> {
  const { fs } = environment;
  // Keys are a check of their own: without usable ones, all that opens no generation still works.
  const encryption = { recipients: [], identityFile: undefined, acceptPlain: false };
  try {
    const { share, close } = await environment.openShare({ ...config, encryption });
    try {
      const known = new FileKnownShare({ fs, stateDirectory: config.stateDir });
      return [
        ...(await checkShare(share, config, await known.read(), environment.clock)),
        ...(await checkHosts(share, config, environment.version)),
      ];
    } finally {
      await close();
    }
  } catch (error) {
    return [problem('share', error)];
  }
}

function text({ terminal }: CliEnvironment, findings: readonly Finding[]): string {
  const columns = terminal.isInteractive ? terminal.columns : 0;
  const paint = painter(terminal.isColoured);
  return findings
    .map(({ check, verdict, message, next }) => {
      const [colour, mark] = MARKS[verdict];
      const told = foldedText(`${check}: ${printable(message)}`, columns, INDENT).slice(INDENT);
      const head = `${paint(colour, mark)}${' '.repeat(INDENT - mark.length)}${told}`;
      return next === undefined ? head : `${head}${foldedText(printable(next), columns, INDENT)}`;
    })
    .join('');
}

function expectNothing(findings: readonly Finding[]): void {
  const problem = findings.find(({ verdict }) => verdict === 'problem');
  const count = (verdict: Finding['verdict']): number =>
    findings.filter((finding) => finding.verdict === verdict).length;
  if (count('ok') === findings.length) return;
  const parts = [
    ...(problem ? [counted(count('problem'), 'problem')] : []),
    ...(count('warning') > 0 ? [counted(count('warning'), 'warning')] : []),
  ];
  throw new MirrorError(
    problem?.code ?? 'NEEDS_ATTENTION',
    `${counted(findings.length, 'check')} found ${parts.join(' and ')}`,
    { next: 'do what stands below each of them, then run `swtpm-mirror doctor` again' },
  );
}
