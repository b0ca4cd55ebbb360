/**
 * system-calls: the system calls that a command makes on chosen files, seen and spoilt from outside with strace.
 *
 * A call is named by its place in one thread: the N-th of its kind. libuv's pool is cut down to one thread, so that a command makes the same
 * calls in the same order each time; where a second thread of it comes as far, the fault strikes there, too.
 */
import { readFile } from 'node:fs/promises';
import { runCommand, type CommandResult } from '../fixtures/process.js';
import { builtProgram } from '../fixtures/program.js';

/** Those by which the program reads, writes, names and removes files. */
const TRACED = [
  ...['openat', 'read', 'pread64', 'write', 'pwrite64', 'close', 'fsync', 'fdatasync', 'ftruncate'],
  ...['rename', 'symlink', 'readlink', 'link', 'unlink', 'mkdir', 'rmdir', 'statx', 'getdents64'],
  ...['chmod', 'fchmod', 'chown', 'fchown', 'utimensat'],
] as const;

export type SystemCallName = (typeof TRACED)[number];

export interface SystemCall {
  readonly name: SystemCallName;
  /** Its number among the calls of this name in its thread, from 1. */
  readonly number: number;
}

/** SIGKILL before the call takes place, or the call does nothing and fails. */
export type Fault = 'KILL' | 'EIO' | 'ENOSPC' | 'ESTALE' | 'EACCES';

export interface TracedCommand {
  readonly args: readonly string[];
  readonly config: string;
}

const COMMAND_TIMEOUT_MS = 60_000;
/** `1234 openat(AT_FDCWD, "/path", …` on its entry; a `resumed` line is the end of one that was seen already. */
const ENTRY = /^(\d+) +(\w+)\((.*)$/;

/**
 * Runs a command in whole.
 *
 * @param base the calls on what lies below are told
 * @param record where strace may write
 */
export async function recordCalls(
  command: TracedCommand,
  base: string,
  record: string,
): Promise<{ readonly result: CommandResult; readonly calls: readonly SystemCall[] }> {
  const result = await trace(command, ['-y', '-o', record, '-e', `trace=${TRACED.join(',')}`]);
  const calls = callsIn(await readFile(record, 'utf8'), base);
  return { result, calls };
}

/** Runs a command in which one call fails, or kills the process that makes it. */
export async function runWithFault(
  command: TracedCommand,
  { name, number }: SystemCall,
  fault: Fault,
): Promise<CommandResult> {
  const what = fault === 'KILL' ? 'signal=KILL' : `error=${fault}`;
  const faults = ['-e', `trace=${name}`, '-e', `inject=${name}:${what}:when=${number}`];
  return await trace(command, ['-o', '/dev/null', ...faults]);
}

async function trace({ args, config }: TracedCommand, options: readonly string[]): Promise<CommandResult> {
  const program = [process.execPath, await builtProgram(), ...args, '--config', config];
  return await runCommand('strace', ['-f', '-qq', '--seccomp-bpf', '-s', '0', ...options, ...program], {
    env: { UV_THREADPOOL_SIZE: '1' },
    timeoutMs: COMMAND_TIMEOUT_MS,
  });
}

/** Each call on a file below `base`, once. */
function callsIn(record: string, base: string): SystemCall[] {
  const counts = new Map<string, number>();
  const calls = new Map<string, SystemCall>();
  for (const line of record.split('\n')) {
    const [, thread, name, operands] = ENTRY.exec(line) ?? [];
    if (!isTraced(name) || operands === undefined) continue;
    const number = (counts.get(`${thread} ${name}`) ?? 0) + 1;
    counts.set(`${thread} ${name}`, number);
    if (operands.includes(base)) calls.set(`${name} ${number}`, { name, number });
  }
  return [...calls.values()];
}

function isTraced(name: string | undefined): name is SystemCallName {
  return TRACED.some((traced) => traced === name);
}
