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
import type { Clock } from '../model/environment.js';
import { daemonAt, isSameDaemon, type LibvirtDaemon } from './node-libvirt-daemon.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';

export interface HookSighting extends LibvirtDaemon {
  /** The first call of this daemon's, RFC 3339 UTC. */
  readonly at: string;
}

const FILE = 'hook-seen.json';
const SIGHTING = z.object({
  daemon: z.enum(['libvirtd', 'virtqemud']),
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
    if (!daemon || isSameDaemon(daemon, this.#last)) return;
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
