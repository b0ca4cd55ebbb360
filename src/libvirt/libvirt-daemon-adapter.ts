/**
 * libvirt-daemon-adapter: since when libvirt's daemon runs, which decides what hooks it knows of: it looks for them only when it starts.
 */
import { execFile } from 'node:child_process';
import type { Clock } from '../model/environment.js';

const DEADLINE_MS = 5_000;
const DAEMONS = 'libvirtd,virtqemud';

/** @returns wall-clock time, ms since the epoch: when it started, or up to a second later; `undefined` when none runs, or nobody can tell */
export function libvirtDaemonStartedMs({ nowMs }: Pick<Clock, 'nowMs'>): Promise<number | undefined> {
  return new Promise((resolve) => {
    const args = ['-C', DAEMONS, '-o', 'etimes='];
    execFile('ps', args, { timeout: DEADLINE_MS }, (error, stdout) => {
      const ages = stdout.split('\n').flatMap((line) => (line.trim() === '' ? [] : [Number(line)]));
      resolve(error || ages.length === 0 ? undefined : nowMs() - Math.max(...ages) * 1000);
    });
  });
}
