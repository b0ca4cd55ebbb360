/**
 * process-tree: what a process and all that it has started use, from /proc.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Usage {
  readonly processes: number;
  /** Processor time so far, ms: of the living, and of those that were waited for. */
  readonly cpuMs: number;
  /** Times that a thread has slept and was woken, so far. */
  readonly wakeUps: number;
  /** Proportional set size, bytes. */
  readonly memoryBytes: number;
  readonly inotifyWatches: number;
}

const KIB = 1024;
const NS_PER_MS = 1e6;
/** `cutime` and `cstime` in `/proc/PID/stat`, counted from behind the name, and the length of their ticks. */
const WAITED_FOR_AT = [13, 14];
const TICK_MS = 10;

export async function usageOf(pid: number): Promise<Usage> {
  const usages = await Promise.all((await treeOf(pid)).map(usageOfOne));
  const sum = (of: (usage: Usage) => number): number => usages.reduce((total, usage) => total + of(usage), 0);
  return {
    processes: usages.length,
    cpuMs: sum(({ cpuMs }) => cpuMs),
    wakeUps: sum(({ wakeUps }) => wakeUps),
    memoryBytes: sum(({ memoryBytes }) => memoryBytes),
    inotifyWatches: sum(({ inotifyWatches }) => inotifyWatches),
  };
}

async function treeOf(pid: number): Promise<number[]> {
  const children = (await filesOf(pid, 'task', 'children')).join(' ').split(' ').filter(Boolean).map(Number);
  return [pid, ...(await Promise.all(children.map(treeOf))).flat()];
}

async function usageOfOne(pid: number): Promise<Usage> {
  const [stats, schedules, status, rollup, descriptors] = await Promise.all([
    read(`/proc/${pid}/stat`),
    filesOf(pid, 'task', 'schedstat'),
    filesOf(pid, 'task', 'status'),
    read(`/proc/${pid}/smaps_rollup`),
    filesOf(pid, 'fdinfo'),
  ]);
  const fields = stats.slice(stats.lastIndexOf(')') + 2).split(' ');
  const waitedForMs = WAITED_FOR_AT.reduce((total, at) => total + Number(fields[at] ?? 0) * TICK_MS, 0);
  const ranNs = schedules.reduce((total, text) => total + Number(text.split(' ')[0]), 0);
  return {
    processes: 1,
    cpuMs: waitedForMs + ranNs / NS_PER_MS,
    wakeUps: status.reduce((total, text) => total + numberIn(text, /^voluntary_ctxt_switches:\s+(\d+)/m), 0),
    memoryBytes: numberIn(rollup, /^Pss:\s+(\d+)/m) * KIB,
    inotifyWatches: descriptors.reduce(
      (total, text) => total + (text.match(/^inotify wd/gm)?.length ?? 0),
      0,
    ),
  };
}

/** The texts of `/proc/PID/DIRECTORY/*`, or of one file in each of those. */
async function filesOf(pid: number, directory: string, name = ''): Promise<string[]> {
  const root = `/proc/${pid}/${directory}`;
  const names = await readdir(root).catch(() => []);
  return await Promise.all(names.map((entry) => read(join(root, entry, name))));
}

/** Empty for a process that has ended meanwhile. */
async function read(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}
