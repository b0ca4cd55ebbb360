import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { announceIncoming, takeAnnouncement, type MarkerContext } from '../../../src/host/incoming-marker.js';
import { OTHER_UUID, put, UUID } from '../../fakes/host-rig.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const MINUTE = 60_000;

async function makeContext(t: TestScope): Promise<MarkerContext & { setTime(ms: number): void }> {
  let now = Date.parse('2026-01-01T00:00:00Z');
  return {
    fs: new NodeFileSystem(),
    clock: { nowMs: () => now },
    runDirectory: join(await temporaryDirectory(t), 'run'),
    setTime: (ms) => {
      now = Date.parse('2026-01-01T00:00:00Z') + ms;
    },
  };
}

t.test('an announcement is for one domain, and serves once', async (t) => {
  const context = await makeContext(t);
  t.equal(await takeAnnouncement(context, UUID), false);
  await announceIncoming(context, UUID);
  t.equal(await takeAnnouncement(context, OTHER_UUID), false);
  t.equal(await takeAnnouncement(context, UUID), true);
  t.equal(await takeAnnouncement(context, UUID), false);
  t.strictSame(await readdir(context.runDirectory), []);
});

t.test(
  'G8: an announcement that is left over does not make an ordinary start pass for a migration',
  async (t) => {
    const context = await makeContext(t);
    for (const ms of [2 * MINUTE, -2 * MINUTE]) {
      context.setTime(0);
      await announceIncoming(context, UUID);
      context.setTime(ms);
      t.equal(await takeAnnouncement(context, UUID), false);
      t.equal(await takeAnnouncement(context, UUID), false, 'and it is used up');
    }
  },
);

t.test('a damaged announcement is none', async (t) => {
  const context = await makeContext(t);
  for (const content of ['', 'soon']) {
    await put(context.runDirectory, { [`incoming-${UUID}`]: content });
    t.equal(await takeAnnouncement(context, UUID), false);
  }
});
