/**
 * hook-probe-adapter: whether the hook can be executed where libvirt's daemon would execute it, as far as
 * that can be found out from outside: in its mount namespace, under its AppArmor profile, by its
 * SELinux policy's own words.
 *
 * The hook is run with an operation at which it has nothing to do. libvirt itself only sees that the file is
 * there and has an x bit; should the kernel deny the execution, every call fails with status 126 or 127.
 */
import { execFile } from 'node:child_process';

export interface ProbeResult {
  /** `unknown`: the probe itself could not be made. */
  readonly verdict: 'runs' | 'denied' | 'unknown';
  readonly why: string;
}

const DEADLINE_MS = 5_000;
/** None of libvirt's, so the hook reads its input and ends. */
const OPERATION = 'swtpm-mirror-probe';
const DENIED = /permission denied|EACCES|noexec|exec format error|no such file/i;
const PROFILE = /^([^ ]+) \((enforce|kill)\)/;

export interface ProbeOptions {
  readonly hook: string;
  /** The daemon's process id, where it runs. */
  readonly pid: number | undefined;
  /** What `/proc/<pid>/attr/current` says of it; '' where that cannot be read. */
  readonly confinement?: string;
}

export async function probeHook({ hook, pid, confinement = '' }: ProbeOptions): Promise<ProbeResult> {
  const call = [hook, 'swtpm-mirror', OPERATION, 'begin', '-'];
  const plain = await run(call);
  // The file was seen to be there: then what is named in its first line is not.
  if (plain.why === 'ENOENT') return { verdict: 'denied', why: 'its interpreter /bin/sh is not there' };
  if (plain.verdict === 'denied' || pid === undefined) return plain;
  const there = await run(['nsenter', `--mount=/proc/${pid}/ns/mnt`, '--', ...call]);
  const [, profile] = PROFILE.exec(confinement) ?? [];
  if (there.verdict !== 'runs' || profile === undefined) return there;
  const confined = await run(['aa-exec', '-p', profile, '--', ...call]);
  return confined.verdict === 'denied' ? confined : there;
}

/** What SELinux says of the hook's label: `undefined` when it is the policy's own, or nobody can tell. */
export async function wrongLabel(hook: string): Promise<string | undefined> {
  const { status, text } = await execute(['matchpathcon', '-V', hook]);
  return status === 1 && text.includes('should be') ? text.trim() : undefined;
}

async function run(command: readonly string[]): Promise<ProbeResult> {
  const { status, text, errno } = await execute(command);
  if (status === 0) return { verdict: 'runs', why: '' };
  const said = text.trim().split('\n').at(-1) ?? '';
  if (errno === 'EACCES' || errno === 'ENOEXEC') return { verdict: 'denied', why: errno };
  if ((status === 126 || status === 127) && DENIED.test(said)) return { verdict: 'denied', why: said };
  return { verdict: 'unknown', why: errno ?? (said || `status ${String(status)}`) };
}

interface Execution {
  readonly status: number | undefined;
  readonly text: string;
  /** Why it could not be started. */
  readonly errno: string | undefined;
}

function execute([program = '', ...args]: readonly string[]): Promise<Execution> {
  return new Promise((resolve) => {
    const options = { timeout: DEADLINE_MS, env: { ...process.env, LC_ALL: 'C' } };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error?.code;
      resolve({
        status: error === null ? 0 : typeof code === 'number' ? code : undefined,
        text: `${stdout}${stderr}`,
        errno: typeof code === 'string' ? code : undefined,
      });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end();
  });
}
