/**
 * storage-entry: the storage process, with the real share under it.
 */
import { systemClock, systemRandom } from '../host/node-environment.js';
import { confineProcess } from '../storage/confine-process.js';
import { NodeFileSystem } from '../storage/node-filesystem.js';
import { parentChannel } from '../storage/parent-channel.js';
import { runStorageProcess } from '../storage/storage-process.js';
import { createLocalShareStore } from '../volume/local-share-store.js';
import { openSealing } from './sealing-keys.js';

declare const PROGRAM_VERSION: string;

/** Less than any share deadline that is worth having: one dead host's file must not take a storage process. */
const HOST_READ_MS = 2_000;

export function serveShare(): void {
  const fs = new NodeFileSystem();
  runStorageProcess({
    channel: parentChannel(),
    confine: confineProcess,
    open: ({ root, self, expiryMs, isTimeObserved = false, generationReadMs, shareId, keys }) =>
      createLocalShareStore({
        fs,
        root,
        self,
        expiryMs,
        isTimeObserved,
        version: PROGRAM_VERSION,
        shareId,
        clock: systemClock,
        hostReadMs: HOST_READ_MS,
        generationReadMs,
        random: systemRandom,
        ...(keys && { sealing: openSealing(keys) }),
      }),
  });
}
