/**
 * virsh-adapter: asks libvirt through virsh, for what its hooks do not tell.
 *
 * Never to be used in a hook: libvirt waits for the hook, and would wait for itself. virsh is optional: on a host without it, or while
 * libvirtd is away, the answer is `undefined`. A virsh that hangs (a hook holds the lock of some domain) is given up.
 */
import { execFile } from 'node:child_process';
import { MirrorError } from '../model/errors.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

export interface Virsh {
  /** `libvirt.uri` in the configuration. */
  readonly uri: string;
  readonly deadlineMs: number;
  /** @default 'virsh' */
  readonly program?: string;
}

export interface VirshResult {
  readonly succeeded: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;

/** Runs one virsh command. @returns `undefined` when there is no virsh, it cannot be started, or it did not end in time */
export function runVirsh(
  { uri, deadlineMs, program = 'virsh' }: Virsh,
  args: readonly string[],
): Promise<VirshResult | undefined> {
  const options = {
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
    maxBuffer: OUTPUT_BYTES_MAX,
    // Its answers are read by us, and its errors may be shown: in one language.
    env: { ...process.env, LC_ALL: 'C' },
  } as const;
  return new Promise((resolve) => {
    try {
      execFile(program, ['--connect', uri, '--quiet', ...args], options, (error, stdout, stderr) => {
        const hasEnded = error === null || typeof error.code === 'number';
        resolve(hasEnded ? { succeeded: error === null, stdout, stderr: stderr.trim() } : undefined);
      });
    } catch {
      // Not even begun: no descriptors, processes or memory left.
      resolve(undefined);
    }
  });
}

/** Whether this host has virsh at all. */
export function hasVirsh({ deadlineMs, program = 'virsh' }: Virsh): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      execFile(program, ['--version'], { timeout: deadlineMs, killSignal: 'SIGKILL' }, (error) => {
        resolve(error?.code !== 'ENOENT');
      });
    } catch {
      resolve(true);
    }
  });
}

/** The domains whose guest runs: not paused, and not still on its way from another host. */
export async function listRunningGuests(virsh: Virsh): Promise<ReadonlySet<DomainUuid> | undefined> {
  return await listDomains(virsh, '--state-running');
}

/** The domains that are defined, and so outlive a stop. */
export async function listDefinedDomains(virsh: Virsh): Promise<ReadonlySet<DomainUuid> | undefined> {
  return await listDomains(virsh, '--all', '--persistent');
}

/** The domains that are defined and do not run. libvirt answers only when no hook of any domain is under way. */
export async function listInactiveDomains(virsh: Virsh): Promise<ReadonlySet<DomainUuid> | undefined> {
  return await listDomains(virsh, '--inactive');
}

/** All domains, whatever they do. It answers when `listInactiveDomains` does. */
export async function listKnownDomains(virsh: Virsh): Promise<ReadonlySet<DomainUuid> | undefined> {
  return await listDomains(virsh, '--all');
}

/** A domain's XML, as libvirt gives it to anybody; '' for one that it does not know, `undefined` when it does not answer. */
export async function describeDomain(virsh: Virsh, uuid: DomainUuid): Promise<string | undefined> {
  const result = await runVirsh(virsh, ['dumpxml', '--domain', uuid]);
  return result?.succeeded === false ? '' : result?.stdout;
}

async function listDomains(
  virsh: Virsh,
  ...which: readonly string[]
): Promise<ReadonlySet<DomainUuid> | undefined> {
  const result = await runVirsh(virsh, ['list', '--uuid', ...which]);
  if (!result?.succeeded) return undefined;
  return new Set(result.stdout.split('\n').filter((line): line is DomainUuid => isDomainUuid(line)));
}

/**
 * Runs a virsh command that must succeed. @returns what it printed
 *
 * @throws MirrorError `LIBVIRT_FAILED`
 */
export async function mustVirsh(virsh: Virsh, args: readonly string[]): Promise<string> {
  const result = await runVirsh(virsh, args);
  if (result?.succeeded) return result.stdout;
  const why = result ? result.stderr.replace(/^error: /, '') : await whyNoAnswer(virsh);
  throw new MirrorError('LIBVIRT_FAILED', `virsh ${args.join(' ')}: ${why.split('\n').join('; ')}`, {
    next: 'see that libvirtd runs and `libvirt.uri` in the configuration is right, and mend what virsh says',
  });
}

async function whyNoAnswer(virsh: Virsh): Promise<string> {
  return (await hasVirsh(virsh)) ? `no answer within ${virsh.deadlineMs} ms` : 'this host has no virsh';
}

/** Whether this version of virsh knows an option of a command. */
export async function takesOption(virsh: Virsh, command: string, option: string): Promise<boolean> {
  const help = await runVirsh(virsh, ['help', command]);
  return help?.succeeded === true && help.stdout.split(/[\s[\]]+/).includes(option);
}
