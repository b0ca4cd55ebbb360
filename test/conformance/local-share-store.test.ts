import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { parseHostName } from '../../src/model/identifiers.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { ShareStore } from '../../src/volume/share-store.js';
import { temporaryDirectory } from '../fixtures/temporary-directory.js';
import { VolumeHosts } from '../fixtures/volume-hosts.js';
import { shareStoreConformance } from './share-store.js';

function storeOn(root: string, host: string): ShareStore {
  return createLocalShareStore({
    fs: new NodeFileSystem(),
    root,
    host: parseHostName(host),
    machineId: `machine of ${host}`,
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

void t.test('the store in this process conforms on a real file system', (t) =>
  shareStoreConformance(t, async () => {
    const root = join(await temporaryDirectory(t), 'share');
    const stores = { a: storeOn(root, 'kvm-a'), b: storeOn(root, 'kvm-b') };
    // The heartbeats' descriptors are closed.
    for (const store of Object.values(stores)) t.teardown(() => store.leave({}));
    return stores;
  }),
);

void t.test('the store in this process conforms on a simulated disk', (t) =>
  shareStoreConformance(t, () => {
    const hosts = new VolumeHosts();
    return Promise.resolve({ a: hosts.start('kvm-a').store, b: hosts.start('kvm-b').store });
  }),
);
