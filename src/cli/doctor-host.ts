/**
 * doctor-host: the checks of `doctor` that concern this host: its own directories, its agent, and links that libvirt could delete through.
 */
import { lstat, statfs } from 'node:fs/promises';
import * as z from 'zod';
import { linkedDomains } from '../host/state-links.js';
import type { Config } from '../model/config.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { askAgent } from './control-client.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';
import { counted } from './text-table.js';

const MIB = 1024 ** 2;
const OPEN_TO_OTHERS = 0o066;
const PERMISSIONS = 0o777;

/** As much of a status as is counted here. */
const STATUS = z.object({
  attention: z.array(z.unknown()),
  domains: z.array(z.object({ state: z.string(), attention: z.array(z.unknown()) })),
  unprotected: z.array(z.object({ name: z.string(), reason: z.string(), askedFor: z.boolean() })).default([]),
});

export async function checkHost(config: Config, fs: FileSystem): Promise<Finding[]> {
  return [
    await checkDirectory('state_dir', config.stateDir, 'TPM state is in it'),
    await checkDirectory('run_dir', config.runDir, 'the socket in it gives out TPM state'),
    await checkSpool(config),
    await checkLinks(config, fs),
    ...(await checkAgent(config)),
  ];
}

async function checkDirectory(check: string, path: string, why: string): Promise<Finding> {
  try {
    const { mode, uid } = await lstat(path);
    const own = process.getuid?.() ?? 0;
    if (own !== 0 && uid === 0) {
      return problem(
        check,
        new MirrorError('HOST_IO', `${path} belongs to root, and this is user ${own}`, {
          next: 'run `swtpm-mirror doctor` as root',
        }),
      );
    }
    if (uid !== own || (mode & OPEN_TO_OTHERS) !== 0) {
      const found = `${path} belongs to user ${uid} and has mode ${(mode & PERMISSIONS).toString(8)}`;
      return problem(
        check,
        new MirrorError('HOST_IO', `${found}, expected user ${own} and mode 700: ${why}`, {
          next: `run \`chown ${own} ${path} && chmod 700 ${path}\``,
        }),
      );
    }
    return ok(check, `${path}, for this program alone`);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return problem(check, error);
    return warning(check, `${path} is not there yet`, 'nothing: the agent makes it when it starts');
  }
}

async function checkSpool({ stateDir, limits }: Config): Promise<Finding> {
  const check = 'spool';
  try {
    const { bavail, bsize } = await statfs(stateDir);
    const free = bavail * bsize;
    const text = `${Math.floor(free / MIB)} MiB available for a spool of up to ${Math.floor(limits.spoolBytesMax / MIB)} MiB`;
    return free >= limits.spoolBytesMax
      ? ok(check, text)
      : warning(check, text, 'free some space, or set `limits.spool_bytes` to less');
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? ok(check, 'nothing is spooled yet') : problem(check, error);
  }
}

async function checkLinks({ libvirt, placement }: Config, fs: FileSystem): Promise<Finding> {
  const check = 'links';
  try {
    const linked = await linkedDomains(fs, libvirt.swtpmDir);
    if (linked.length === 0) return ok(check, `no links in place of TPM directories in ${libvirt.swtpmDir}`);
    const links = `TPM directories that are symbolic links: ${linked.join(', ')}`;
    if (placement === 'direct') return ok(check, `${links}; so it is while a domain runs on the share`);
    return warning(
      check,
      links,
      'restart the agent: it takes them away, before libvirt could delete through them, but for domains that still run with `placement = "direct"`',
    );
  } catch (error) {
    return problem(check, error);
  }
}

async function checkAgent(config: Config): Promise<Finding[]> {
  const check = 'agent';
  try {
    const answer = await askAgent(config, { method: 'GET', path: '/v1/status' });
    if (answer === undefined) {
      return [
        problem(
          check,
          new MirrorError(
            'AGENT_UNREACHABLE',
            'no agent runs on this host: changes of running domains are not published',
            {
              next: 'run `systemctl enable --now swtpm-mirror`',
            },
          ),
        ),
      ];
    }
    const { attention, domains, unprotected } = STATUS.parse(answer);
    const troubled = domains.filter((domain) => domain.attention.length > 0).length;
    const running = domains.filter(({ state }) => state === 'running').length;
    const text = `runs, with ${counted(running, 'running domain')}`;
    const well =
      attention.length + troubled === 0
        ? ok(check, text)
        : warning(
            check,
            `${text}; ${counted(attention.length + troubled, 'thing needs', 'things need')} attention`,
            'see `swtpm-mirror status`',
          );
    return [well, ...unprotected.map(judgeUnprotected)];
  } catch (error) {
    return [problem(check, error)];
  }
}

function judgeUnprotected({
  name,
  reason,
  askedFor,
}: z.output<typeof STATUS>['unprotected'][number]): Finding {
  const text = `the TPM of ${name} is stored nowhere: ${reason}`;
  return askedFor
    ? ok('not stored', text)
    : warning(
        'not stored',
        text,
        'let libvirt keep its emulated TPM in a directory, or say in its metadata that this is meant (`enabled="no"`)',
      );
}
