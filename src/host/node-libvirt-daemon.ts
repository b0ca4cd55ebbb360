/**
 * node-libvirt-daemon: the process of libvirt's that runs the hooks of this host's VMs, read from `/proc`.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../model/errors.js';

export interface LibvirtDaemon {
  readonly daemon: 'libvirtd' | 'virtqemud';
  readonly pid: number;
  /** Ticks since the boot: another one is another process of the same id. */
  readonly startTime: string;
}

const PROCESS_ID = /^\d+$/;
const PID_MAX = 4_194_304;
/** Among the fields that follow the name: see proc(5). */
const START_TIME = 19;
/** What times in `/proc` are counted in, on every platform of Linux's. */
const TICKS_PER_SECOND = 100;

/** @returns `undefined` for a process that is none of libvirt's, or is gone */
export async function daemonAt(pid: number, procRoot = '/proc'): Promise<LibvirtDaemon | undefined> {
  if (!Number.isInteger(pid) || pid < 1 || pid > PID_MAX) return undefined;
  try {
    const text = await readFile(`${procRoot}/${pid}/stat`, 'latin1');
    const end = text.lastIndexOf(')');
    const daemon = text.slice(text.indexOf('(') + 1, end);
    const startTime = text.slice(end + 2).split(' ')[START_TIME];
    const isDaemon = daemon === 'libvirtd' || daemon === 'virtqemud';
    return isDaemon && startTime !== undefined ? { daemon, pid, startTime } : undefined;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

/** The system's own, not a user's; where both daemons run, the one that has QEMU's driver to itself. */
export async function findLibvirtDaemon(procRoot = '/proc'): Promise<LibvirtDaemon | undefined> {
  const found: LibvirtDaemon[] = [];
  for (const name of (await readdir(procRoot)).filter((entry) => PROCESS_ID.test(entry))) {
    const daemon = await daemonAt(Number(name), procRoot);
    if (daemon && (await isRoots(`${procRoot}/${name}`))) found.push(daemon);
  }
  return found.find(({ daemon }) => daemon === 'virtqemud') ?? found[0];
}

/** When it was started, ms since the epoch, within a second or so. */
export async function startedMs({ startTime }: LibvirtDaemon, nowMs: number): Promise<number> {
  const [uptimeSeconds = '0'] = (await readFile('/proc/uptime', 'latin1')).split(' ');
  return nowMs - Number(uptimeSeconds) * 1000 + (Number(startTime) / TICKS_PER_SECOND) * 1000;
}

export function isSameDaemon(
  one: Pick<LibvirtDaemon, 'pid' | 'startTime'> | undefined,
  other: Pick<LibvirtDaemon, 'pid' | 'startTime'> | undefined,
): boolean {
  return one !== undefined && one.pid === other?.pid && one.startTime === other.startTime;
}

async function isRoots(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.uid === (process.getuid?.() ?? 0);
}
