/**
 * systemd-notify: tells systemd how the agent is, where systemd asks for it (`Type=notify`, `WatchdogSec=` in the unit).
 *
 * systemd listens on a socket for datagrams, which Node cannot send; systemd's own program can. It is another process than the one that systemd started
 * (hence `NotifyAccess=all`), and ends only when systemd has read what it sent, so that systemd still knows whose it was.
 */
import { execFile } from 'node:child_process';
import type { ServiceManager } from '../agent/api/service-report.js';

const PROGRAM = 'systemd-notify';
const DEADLINE_MS = 10_000;
const US_PER_MS = 1000;

/** @returns `undefined` when no systemd waits for this process */
export function systemdManager(env: NodeJS.ProcessEnv, ownPid: number): ServiceManager | undefined {
  if (!env['NOTIFY_SOCKET']) return undefined;
  return { watchdogMs: watchdogMs(env, ownPid), tell };
}

/** systemd sets the variable for the process that it started, and children inherit it. */
function watchdogMs(
  { WATCHDOG_USEC: us, WATCHDOG_PID: pid }: NodeJS.ProcessEnv,
  ownPid: number,
): number | undefined {
  if (pid !== undefined && Number(pid) !== ownPid) return undefined;
  const ms = Number(us ?? 0) / US_PER_MS;
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}

function tell(variables: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(PROGRAM, [...variables], { timeout: DEADLINE_MS, killSignal: 'SIGKILL' }, (error) => {
      if (error) reject(new Error(`${PROGRAM}: ${error.message}`, { cause: error }));
      else resolve();
    });
  });
}
