/**
 * incoming-marker: carries "an incoming migration begins" from libvirt's `migrate` hook to the `prepare` hook that follows it, whether or
 * not an agent runs.
 *
 * I1 (G8) A marker serves once and only for a minute. A migration that failed between the two hooks must not make a later, ordinary start
 *    pass for an incoming one, because that restores nothing.
 */
import { basename, dirname } from 'node:path';
import type { Clock } from '../model/environment.js';
import type { FileSystem } from '../model/filesystem.js';
import type { DomainUuid } from '../model/identifiers.js';
import { ensureDirectories, ifAny } from './files.js';
import { FILE_MODE } from '../model/durable-file.js';
import { orHostError } from './host-error.js';

export interface MarkerContext {
  readonly fs: FileSystem;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** `run_dir` in the configuration: gone after a reboot, as the migration is. */
  readonly runDirectory: string;
}

const VALID_MS = 60_000;
const TIME_BYTES_MAX = 32;

/** @throws MirrorError `HOST_IO`: the migration must not go on then */
export async function announceIncoming(
  { fs, clock, runDirectory }: MarkerContext,
  uuid: DomainUuid,
): Promise<void> {
  await orHostError(`note that ${uuid} is about to migrate to this host`, async () => {
    await ensureDirectories(fs, 'incoming', dirname(runDirectory), basename(runDirectory));
    const file = await fs.open('incoming:open', markerPath(runDirectory, uuid), 'create', FILE_MODE);
    try {
      await file.write('incoming:write', Buffer.from(String(clock.nowMs())), 0);
    } finally {
      await file.close('incoming:close');
    }
  });
}

/**
 * Whether an incoming migration of this domain was announced just now. The announcement is used up.
 *
 * @throws MirrorError `HOST_IO`
 */
export async function takeAnnouncement(
  { fs, clock, runDirectory }: MarkerContext,
  uuid: DomainUuid,
): Promise<boolean> {
  const path = markerPath(runDirectory, uuid);
  return await orHostError(`see whether ${uuid} is about to migrate to this host`, async () => {
    const file = await ifAny(() => fs.open('incoming:open-read', path, 'read'));
    if (!file) return false;
    const time = await file
      .read('incoming:read', TIME_BYTES_MAX, 0)
      .finally(() => file.close('incoming:close-read'));
    await fs.unlink('incoming:unlink', path);
    const ageMs = clock.nowMs() - Number(Buffer.from(time).toString('latin1'));
    return time.length > 0 && Math.abs(ageMs) <= VALID_MS;
  });
}

function markerPath(runDirectory: string, uuid: DomainUuid): string {
  return `${runDirectory}/incoming-${uuid}`;
}
