/**
 * hook-evidence: which of libvirt's daemons was seen to run the hook. A file that lies at a hook's
 * place proves nothing: libvirt looks for hooks only when it starts or is reloaded, and where the
 * kernel denies the execution every call of it fails.
 *
 *   <run_dir>/hook-seen.json   {"daemon": "libvirtd", "pid": 711, "startTime": "8123", "at": …}
 *
 * I1 Only a call whose parent process is such a daemon counts: somebody who runs the hook by hand
 *    proves nothing.
 * I2 A daemon is told by process id and start time: another one has seen nothing yet.
 */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { errnoOf } from '../model/errors.js';
import type { Clock } from '../model/environment.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';

/** A process of libvirt's that runs hooks of the driver for QEMU. */
export interface LibvirtDaemon {
  readonly daemon: string;
  readonly pid: number;
  /** Ticks since the boot. */
  readonly startTime: string;
}

export interface HookSighting extends LibvirtDaemon {
  /** The first call of this daemon's, RFC 3339 UTC. */
  readonly at: string;
}

const FILE = 'hook-seen.json';
const DAEMON = /^(libvirtd|virtqemud)$/;
const PID_MAX = 4_194_304;
const SIGHTING = z.object({
  daemon: z.string(),
  pid: z.number(),
  startTime: z.string(),
  at: z.iso.datetime(),
});

export interface HookEvidenceOptions {
  readonly runDirectory: string;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** @default '/proc' */
  readonly procRoot?: string;
  readonly write?: ReplaceFile;
}

export class HookEvidence {
  readonly #options: HookEvidenceOptions;
  #last: LibvirtDaemon | undefined;

  constructor(options: HookEvidenceOptions) {
    this.#options = options;
  }

  /**
   * The hook was called. Never fails: no start hangs on evidence.
   *
   * @param caller the process that ran the hook, as the hook itself says
   */
  async note(caller: string | undefined): Promise<void> {
    const { runDirectory, clock, procRoot, write = replaceFile } = this.#options;
    const daemon = await daemonAt(Number(caller), procRoot);
    if (!daemon || isSame(daemon, this.#last)) return;
    this.#last = daemon;
    const sighting: HookSighting = { ...daemon, at: new Date(clock.nowMs()).toISOString() };
    await write(`${runDirectory}/${FILE}`, `${JSON.stringify(sighting)}\n`).catch(() => {
      this.#last = undefined;
    });
  }

  /** What was seen last, by whatever run of the program. */
  async read(): Promise<HookSighting | undefined> {
    try {
      return SIGHTING.parse(JSON.parse(await readFile(`${this.#options.runDirectory}/${FILE}`, 'utf8')));
    } catch {
      return undefined;
    }
  }
}

export function isSame(one: LibvirtDaemon, other: LibvirtDaemon | undefined): boolean {
  return one.pid === other?.pid && one.startTime === other.startTime;
}

/** @returns `undefined` for a process that is none of libvirt's, or is gone */
export async function daemonAt(pid: number, procRoot = '/proc'): Promise<LibvirtDaemon | undefined> {
  if (!Number.isInteger(pid) || pid < 1 || pid > PID_MAX) return undefined;
  try {
    const stat = await readFile(`${procRoot}/${pid}/stat`, 'latin1');
    const end = stat.lastIndexOf(')');
    const daemon = stat.slice(stat.indexOf('(') + 1, end);
    const startTime = stat.slice(end + 2).split(' ')[START_TIME];
    return DAEMON.test(daemon) && startTime !== undefined ? { daemon, pid, startTime } : undefined;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

/** Among the fields that follow the name: see proc(5). */
const START_TIME = 19;
