/**
 * live-sweep: what the runs before a holder's own left where swtpm worked on the share. Their hosts crashed, or were fenced.
 *
 * I1 (G5) State that the head does not have is kept as a diverged copy before it is removed. What this
 *    version cannot judge stays where it is.
 */
import { compareStateFiles, type Capture, type SeenFile } from '../model/capture.js';
import { MirrorError } from '../model/errors.js';
import type { Slot } from '../model/generation-name.js';
import { contentDigest } from '../model/hash.js';
import { isCutOff, stateFaultOf } from '../model/state-fault.js';
import type { VolumeLog } from '../model/volume-log.js';
import { readHead } from './fetch.js';
import { liveRuns, readLive, removeLive } from './live.js';
import { diverge } from './publish.js';
import type { ShareContext } from './share-context.js';
import type { PublishNote, TidyCall } from './share-store.js';

/**
 * @returns runs whose directory was removed, and how many of them had state of their own
 * @throws MirrorError `SHARE_TAMPERED` when something else stands in a run's place, after all others were tidied
 */
export async function sweepLive(
  context: ShareContext,
  call: TidyCall,
  log: VolumeLog,
): Promise<{ removed: number; diverged: number }> {
  const result = { removed: 0, diverged: 0 };
  let tampered: MirrorError | undefined;
  for (const live of await liveRuns(context, call.uuid)) {
    // A run that begins later than this claim is its holder's business.
    if (live === call.live || live > call.epoch) continue;
    try {
      const capture = await captureOf(context, call, live);
      if (capture === 'unknown') continue;
      if (capture && !(await isInHead(context, call, log, capture))) {
        await keep(context, call, live, capture);
        result.diverged++;
      }
      await removeLive(context, { uuid: call.uuid, live });
      result.removed++;
    } catch (error) {
      // What stands in one run's place keeps no other run from being tidied; it is told all the same.
      if (!(error instanceof MirrorError) || error.code !== 'SHARE_TAMPERED') throw error;
      tampered ??= error;
    }
  }
  if (tampered) throw tampered;
  return result;
}

/** `undefined` for a run without state that is any good: a crash of its host tore it. `unknown`: nobody here can tell. */
async function captureOf(
  context: ShareContext,
  { uuid }: TidyCall,
  live: Slot,
): Promise<Capture | 'unknown' | undefined> {
  try {
    const seen: SeenFile[] = await readLive(context, { uuid, live });
    if (!seen.some((file) => file.name.endsWith('.permall'))) return undefined;
    const files = seen
      .map(({ role, name, mode, mtimeNs, data, sha256 }) => ({ role, name, mode, mtimeNs, data, sha256 }))
      .sort(compareStateFiles);
    const identity = seen.find((file) => file.identity !== undefined)?.identity;
    return { uuid, files, digest: contentDigest(files), identity };
  } catch (error) {
    const fault = stateFaultOf(error);
    if (fault === undefined) throw error;
    // A link or a socket in its place holds nothing itself.
    return isCutOff(fault) || fault === 'unreadable' ? undefined : 'unknown';
  }
}

/** Of the TPM alone: its NVRAM never lay here. */
async function isInHead(
  context: ShareContext,
  { uuid }: TidyCall,
  log: VolumeLog,
  capture: Capture,
): Promise<boolean> {
  const head = await readHead(context, uuid, log);
  if (head.kind !== 'whole') return false;
  const stored = head.generation.capture.files;
  return capture.files.every((file) =>
    stored.some((other) => compareStateFiles(file, other) === 0 && file.sha256 === other.sha256),
  );
}

async function keep(
  context: ShareContext,
  { uuid, epoch }: TidyCall,
  live: Slot,
  capture: Capture,
): Promise<void> {
  const note: PublishNote = { domainName: '', reason: 'diverged', bootId: '', swtpm: '', libtpms: '' };
  await diverge(context, { uuid, epoch: live, slot: epoch + 1, capture, note });
}
