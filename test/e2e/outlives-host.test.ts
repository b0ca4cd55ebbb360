/**
 * What the product is for: a TPM outlives its host.
 */
import { rm } from 'node:fs/promises';
import t from 'tap';
import { Guest } from '../fixtures/guest.js';
import { Site } from '../fixtures/site.js';

const KEY_HANDLE = 0x81000001;

t.test(
  'G4: host B reads back the value and the key of a VM whose host A was killed and lost its disk',
  async (t) => {
    const site = await Site.create(t);
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    const agent = await a.startAgent(t);
    const first = await Guest.start(t, a, { manufactured: true });
    const secret = Buffer.from('the disk key that only this TPM gives out');
    await first.keep(secret);
    await first.swtpm.makePersistentKey(KEY_HANDLE);
    const publicPart = await first.swtpm.readPublic(KEY_HANDLE);
    await site.volumeOf(first).waitForHead(await first.permall());

    await agent.kill();
    await first.crash();
    await Promise.all(
      [a.stateDirectory, a.runDirectory, a.swtpmDirectory].map((path) => rm(path, { recursive: true })),
    );

    await b.startAgent(t);
    const second = await Guest.start(t, b);
    t.strictSame(await second.read(secret.length), secret);
    t.strictSame(await second.swtpm.readPublic(KEY_HANDLE), publicPart);
    await second.stop();
    t.match(await site.volumeOf(second).story(), ['claim start', 'publish']);
    t.ok((await site.volumeOf(second).story()).includes('claim take-over'));
  },
);
