/**
 * machine: what the figures were made on.
 */
import { cpus, release, totalmem } from 'node:os';
import { readFile } from 'node:fs/promises';
import { runCommand } from '../../test/fixtures/process.js';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly system: string;
  readonly node: string;
  /** Type of the file system that was written to. */
  readonly fileSystem: string;
  readonly peers: string;
  /** The load average of the last minute when the run began; it tells whether the machine was quiet. */
  readonly loadBefore: number;
  readonly commit: string;
  readonly time: string;
}

const PEERS = ['lsyncd', 'inotify-tools', 'rsync'];
const GIB = 2 ** 30;

export async function describeMachine(directory: string): Promise<Machine> {
  const [{ model } = { model: 'unknown' }] = cpus();
  const osRelease = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const [load = ''] = (await readFile('/proc/loadavg', 'utf8')).split(' ');
  return {
    processor: model.replaceAll(/\s+/g, ' ').trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / GIB),
    kernel: release(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(osRelease)?.[1] ?? 'unknown',
    node: process.version,
    fileSystem: (await outputOf('df', ['--output=fstype', directory])).split('\n').at(-1) ?? 'unknown',
    peers: (await outputOf('dpkg-query', ['--show', '--showformat=${Package} ${Version}\n', ...PEERS]))
      .split('\n')
      .join(', '),
    loadBefore: Number(load),
    commit: await outputOf('git', ['describe', '--always', '--dirty']),
    time: new Date().toISOString(),
  };
}

export function machineText(machine: Machine): string {
  const { processor, cores, memoryGiB, system, kernel, node, fileSystem, peers, loadBefore, commit, time } =
    machine;
  return [
    `${processor}, ${cores} cores, ${memoryGiB} GiB; ${system}, Linux ${kernel}, Node ${node}; files on ${fileSystem}`,
    `${peers}; load before the run ${loadBefore}; ${time.slice(0, 16).replace('T', ' ')} UTC, commit ${commit}`,
  ].join('; ');
}

/** Nothing where the program is missing, or says no. */
async function outputOf(program: string, args: readonly string[]): Promise<string> {
  const result = await runCommand(program, args).catch(() => undefined);
  return result?.status === 0 ? result.stdout.toString().trim() : 'unknown';
}
