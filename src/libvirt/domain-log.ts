/**
 * domain-log: why a domain stopped, from the log that libvirt keeps of it. For a libvirt before 10.5, which does not tell its hook.
 *
 *   2026-01-02 03:04:05.678+0000: starting up libvirt version: …
 *   2026-01-02 04:05:06.789+0000: shutting down, reason=destroyed      written before the hooks `stopped` and `release` run
 *
 * I1 A reason of an earlier run is never taken for this one's: no start may follow it.
 */
import { errnoOf } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';

/** libvirt's line is the last or nearly so; QEMU's own words may follow a `starting up` for long. */
const TAIL_BYTES = 64 * 1024;
const EVENT =
  /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+\d{4}: (?:(starting up)\b|shutting down, reason=([a-z-]+)$)/;
const UNFIT_NAME = /[/\0]|^\.{1,2}$/;

/**
 * @param logDirectory `libvirt.log_dir` in the configuration
 * @returns `undefined` when the log does not say, or cannot be read: a reason is good to have and no more
 */
export async function readStopReason(
  fs: FileSystem,
  logDirectory: string,
  domainName: string,
): Promise<string | undefined> {
  if (domainName === '' || UNFIT_NAME.test(domainName)) return undefined;
  try {
    return stopReason(await readTail(fs, `${logDirectory}/${domainName}.log`));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

/** @param tail the log's end; its first line may be cut */
export function stopReason(tail: string): string | undefined {
  let reason: string | undefined;
  for (const line of tail.split('\n')) {
    const [, startingUp, stopped] = EVENT.exec(line) ?? [];
    if (startingUp !== undefined) reason = undefined;
    else reason = stopped ?? reason;
  }
  return reason;
}

async function readTail(fs: FileSystem, path: string): Promise<string> {
  const file = await fs.open('domain-log:open', path, 'read');
  try {
    const { kind, size } = await file.stat('domain-log:stat');
    if (kind !== 'file') return '';
    const tail = await file.read('domain-log:read', TAIL_BYTES, Math.max(0, size - TAIL_BYTES));
    return Buffer.from(tail).toString('utf8');
  } finally {
    await file.close('domain-log:close-read');
  }
}
