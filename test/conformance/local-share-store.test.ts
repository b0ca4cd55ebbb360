import { hostNamed } from '../fixtures/host-identity.js';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import { temporaryDirectory } from '../fixtures/temporary-directory.js';
import { shareAdministrationConformance, type MakeServices } from './share-administration.js';
import { shareStoreConformance } from './share-store.js';

function storeOn(root: string, host: string): ShareService {
  return createLocalShareStore({
    fs: new NodeFileSystem(),
    root,
    self: hostNamed(host),
    clock: {
      nowMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      after: () => {
        throw new Error('the protocol has no timers');
      },
    },
    random: { hex: (length) => randomBytes(length).toString('hex'), fraction: () => 0.5 },
  });
}

function onRealFiles(t: Test): MakeServices {
  return async () => {
    const root = join(await temporaryDirectory(t), 'share');
    const stores = { a: storeOn(root, 'kvm-a'), b: storeOn(root, 'kvm-b') };
    // What they hold open is closed.
    for (const store of Object.values(stores)) t.teardown(() => store.leave({}));
    return stores;
  };
}

void t.test('the store in this process conforms on a real file system', async (t) => {
  await shareStoreConformance(t, onRealFiles(t));
  await shareAdministrationConformance(t, onRealFiles(t));
});
