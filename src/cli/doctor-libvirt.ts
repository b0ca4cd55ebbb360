/**
 * doctor-libvirt: the checks of `doctor` that concern libvirt: that it answers, that it has our hook, and that it knows of it.
 */
import { stat, readFile } from 'node:fs/promises';
import { libvirtDaemonStartedMs } from '../libvirt/libvirt-daemon-adapter.js';
import { hasVirsh, runVirsh } from '../libvirt/virsh-adapter.js';
import type { Config } from '../model/config.js';
import type { Clock } from '../model/environment.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';
import { isOwnWork } from './install-files.js';

export const HOOK = '/etc/libvirt/hooks/qemu.d/50-swtpm-mirror';

const VIRSH_DEADLINE_MS = 5_000;
/** From here on libvirt runs the scripts in `qemu.d`. */
const VERSION_MIN = [6, 5, 0] as const;
const LIBRARY = /Using library: libvirt (\d+)\.(\d+)\.(\d+)/;
const EXECUTABLE = 0o111;
const RESTART = 'run `systemctl restart libvirtd` (or virtqemud): running domains go on';

export async function checkLibvirt({ libvirt }: Config, clock: Clock): Promise<Finding[]> {
  const virsh = { uri: libvirt.uri, deadlineMs: VIRSH_DEADLINE_MS };
  const answer = await runVirsh(virsh, ['version']);
  if (answer === undefined && !(await hasVirsh(virsh))) {
    return [ok('libvirt', 'this host has no virsh: its domains are told to `swtpm-mirror domain`')];
  }
  if (!answer?.succeeded) {
    const why = answer ? answer.stderr.split('\n').join('; ') : 'virsh does not answer';
    const next =
      'start libvirtd, or set `libvirt.uri`; without libvirt, call `swtpm-mirror domain prepare` and its like';
    return [warning('libvirt', `${libvirt.uri}: ${why}`, next)];
  }
  return [checkVersion(answer.stdout), ...(await checkHook(clock))];
}

export function checkVersion(text: string): Finding {
  const version = LIBRARY.exec(text)?.slice(1).map(Number) ?? [];
  const isOld = VERSION_MIN.some(
    (least, at) =>
      (version[at] ?? 0) < least && VERSION_MIN.slice(0, at).every((other, i) => other === version[i]),
  );
  const title = `libvirt ${version.join('.') || 'of an unknown version'}`;
  return isOld
    ? problem(
        'libvirt',
        new MirrorError('LIBVIRT_FAILED', `${title} does not run hooks in qemu.d`, {
          next: 'upgrade libvirt to 6.5 or newer, or call this hook from /etc/libvirt/hooks/qemu',
        }),
      )
    : ok('libvirt', title);
}

async function checkHook(clock: Clock): Promise<Finding[]> {
  try {
    const [text, { mode, ctimeMs }] = await Promise.all([readFile(HOOK, 'utf8'), stat(HOOK)]);
    if ((mode & EXECUTABLE) === 0) return [missing(`${HOOK} is not executable, so libvirt skips it`)];
    const installed = isOwnWork(text)
      ? ok('hook', `${HOOK} is installed`)
      : warning(
          'hook',
          `${HOOK} was edited since it was installed`,
          'see that it still runs `swtpm-mirror hook` and passes on its status',
        );
    return [installed, judgeNoticed(await libvirtDaemonStartedMs(clock), ctimeMs)];
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      return [missing(`${HOOK} is not there: domains start without their state being restored`)];
    }
    return [problem('hook', error)];
  }
}

function missing(message: string): Finding {
  return problem(
    'hook',
    new MirrorError('HOOK_MISSING', message, {
      next: `run \`swtpm-mirror install\` (for the Debian package: \`apt reinstall swtpm-mirror\`), then ${RESTART}`,
    }),
  );
}

/** @param hookMs when the hook was written last; it may have been there before */
export function judgeNoticed(daemonMs: number | undefined, hookMs: number): Finding {
  const check = 'hook noticed';
  if (daemonMs === undefined) {
    return warning(check, "libvirt's daemon is not seen among the processes", RESTART);
  }
  return hookMs <= daemonMs
    ? ok(check, "libvirt's daemon was started after the hook was installed")
    : warning(
        check,
        "the hook was written after libvirt's daemon was started, which looks for a first hook only then",
        `${RESTART}; not needed if another hook for qemu was there before`,
      );
}
