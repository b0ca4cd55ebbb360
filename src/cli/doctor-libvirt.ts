/**
 * doctor-libvirt: the checks of `doctor` that concern libvirt: that it answers, and runs hooks in `qemu.d`.
 */
import { hasVirsh, runVirsh } from '../libvirt/virsh-adapter.js';
import type { Config } from '../model/config.js';
import type { Clock } from '../model/environment.js';
import { MirrorError } from '../model/errors.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';
import { checkHook } from './doctor-hook.js';

const VIRSH_DEADLINE_MS = 5_000;
/** From here on libvirt runs the scripts in `qemu.d`. */
const VERSION_MIN = [6, 5, 0] as const;
const LIBRARY = /Using library: libvirt (\d+)\.(\d+)\.(\d+)/;

export async function checkLibvirt({ libvirt, runDir }: Config, clock: Clock): Promise<Finding[]> {
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
  return [checkVersion(answer.stdout), ...(await checkHook(runDir, clock))];
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
