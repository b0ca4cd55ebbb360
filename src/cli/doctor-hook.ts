/**
 * doctor-hook: whether libvirt runs the hook. That a file lies in its place proves nothing; that a daemon
 * of libvirt's was seen to run it does.
 *
 * Where nothing is proved that is said, and no step is advised that could end a VM: a daemon that is
 * reloaded looks for hooks and runs none, while one that is restarted runs the hook for every VM, and
 * shuts down each for which the hook cannot run.
 */
import { readFile, stat } from 'node:fs/promises';
import { HookEvidence, type HookSighting } from '../host/hook-evidence.js';
import {
  findLibvirtDaemon,
  isSameDaemon,
  startedMs,
  type LibvirtDaemon,
} from '../host/node-libvirt-daemon.js';
import { probeHook, wrongLabel, type ProbeResult } from '../libvirt/hook-probe-adapter.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { Clock } from '../model/environment.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';
import { isOwnWork } from './install-files.js';

export const HOOK = '/etc/libvirt/hooks/qemu.d/50-swtpm-mirror';

const EXECUTABLE = 0o111;
const AUDIT_LOG = '/var/log/audit/audit.log';
const AUDIT_TAIL = 512 * 1024;
const RUNS = 'hook runs';

export async function checkHook(runDirectory: string, clock: Clock): Promise<Finding[]> {
  const daemon = await findLibvirtDaemon();
  try {
    const [text, { mode, ctimeMs }] = await Promise.all([readFile(HOOK, 'utf8'), stat(HOOK)]);
    if ((mode & EXECUTABLE) === 0) {
      return [problem('hook', unusable('it is not executable, and libvirt skips it', `chmod 755 ${HOOK}`))];
    }
    const installed = isOwnWork(text)
      ? ok('hook', `${HOOK} is installed`)
      : warning(
          'hook',
          `${HOOK} was edited since it was installed`,
          'see that it still runs `swtpm-mirror hook` and passes on its status',
        );
    const evidence = {
      daemon,
      seen: await new HookEvidence({ runDirectory, clock }).read(),
      probe: await probeHook({ hook: HOOK, pid: daemon?.pid, confinement: await confinementOf(daemon) }),
      isOlder: daemon !== undefined && ctimeMs <= (await startedMs(daemon, clock.nowMs())),
    };
    return [installed, judgeRuns(evidence), ...(await checkLabel())];
  } catch (error) {
    return [errnoOf(error) === 'ENOENT' ? missing(daemon) : problem('hook', error)];
  }
}

export interface HookFacts {
  readonly daemon: LibvirtDaemon | undefined;
  /** The daemon that was seen last to run the hook. */
  readonly seen: HookSighting | undefined;
  readonly probe: ProbeResult;
  /** The hook was written before the daemon was started. */
  readonly isOlder: boolean;
}

export function judgeRuns({ daemon, seen, probe, isOlder }: HookFacts): Finding {
  if (probe.verdict === 'denied') {
    return problem(RUNS, unusable(`it cannot be executed (${probe.why})`, undefined));
  }
  if (daemon && isSameDaemon(daemon, seen)) {
    return ok(RUNS, `${named(daemon)} was seen to run it, first at ${seen?.at ?? ''}`);
  }
  if (!daemon) {
    return warning(
      RUNS,
      "not proved: libvirt's daemon is not seen among the processes",
      'nothing, if libvirt starts when it is asked: run `swtpm-mirror doctor` again when a VM has started or stopped',
    );
  }
  const noticed = isOlder
    ? `${named(daemon)} was started after the hook was written, and was not seen to run it yet`
    : `the hook was written after ${named(daemon)} was started, which looks for a first one only then and when it is reloaded`;
  const reload = isOlder ? '' : `run \`${reloadCommand(daemon)}\`, which no VM notices; `;
  return warning(
    RUNS,
    `not proved yet: ${noticed}`,
    `${reload}it shows at the next start or stop of any VM: run \`swtpm-mirror doctor\` again then`,
  );
}

/** @returns what makes that daemon look for hooks and ends nothing */
export function reloadCommand(daemon: LibvirtDaemon | undefined): string {
  return `systemctl reload ${daemon?.daemon ?? 'libvirtd'}`;
}

function named({ daemon, pid }: LibvirtDaemon): string {
  return `${daemon} (process ${pid})`;
}

function unusable(why: string, mend: string | undefined): MirrorError {
  const next = mend ?? 'mount that file system without noexec, or mend what denies it';
  return new MirrorError('HOOK_UNUSABLE', `${HOOK}: ${why}`, {
    next: `${next}; until then do not restart libvirt: it would shut down every running VM whose hook fails. To start VMs without the product meanwhile, run \`rm ${HOOK}\``,
  });
}

function missing(daemon: LibvirtDaemon | undefined): Finding {
  return problem(
    'hook',
    new MirrorError('HOOK_MISSING', `${HOOK} is not there: VMs start without their state being restored`, {
      next: `run \`swtpm-mirror install\` (for the Debian package: \`apt reinstall swtpm-mirror\`), then \`${reloadCommand(daemon)}\`, which no VM notices`,
    }),
  );
}

async function confinementOf(daemon: LibvirtDaemon | undefined): Promise<string> {
  if (!daemon) return '';
  return await readFile(`/proc/${daemon.pid}/attr/current`, 'utf8').catch(() => '');
}

async function checkLabel(): Promise<Finding[]> {
  const enforcing = (await readFile('/sys/fs/selinux/enforce', 'utf8').catch(() => '0')).trim() === '1';
  if (!enforcing) return [];
  const label = await wrongLabel(HOOK);
  if (label !== undefined) return [warning('hook label', label, `run \`restorecon -v ${HOOK}\``)];
  const denial = lastDenial(await tailOf(AUDIT_LOG));
  if (denial === undefined) return [];
  return [
    warning(
      'hook label',
      `SELinux denied it something: ${denial}`,
      'see `ausearch -m avc -c 50-swtpm-mirror`; if this is old, nothing',
    ),
  ];
}

/** @param log the end of the audit log */
export function lastDenial(log: string): string | undefined {
  const lines = log.split('\n').filter((line) => line.includes('denied') && line.includes('50-swtpm-mirror'));
  return /avc: .*$/.exec(lines.at(-1) ?? '')?.[0];
}

async function tailOf(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).slice(-AUDIT_TAIL);
}
