/**
 * The product comes to a host that has run VMs with TPMs for a long time.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, OTHER_DOMAIN } from '../fixtures/guest.js';
import { Site } from '../fixtures/site.js';
import { readTree } from '../fixtures/tree.js';

const STOPPED_DOMAIN = '9e8d7c6b-5a49-4383-9271-6f5e4d3c2b1a';

t.test(
  'a running VM gets its first generation when the agent starts, without being stopped; others are left alone',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    const running = [
      await Guest.startUnannounced(t, host, { uuid: DOMAIN, manufactured: true }),
      await Guest.startUnannounced(t, host, { uuid: OTHER_DOMAIN }),
    ];
    for (const guest of running) await guest.keep(Buffer.from(guest.uuid));
    const stopped = await Guest.startUnannounced(t, host, { uuid: STOPPED_DOMAIN });
    await stopped.swtpm.stop();
    await mkdir(join(host.swtpmDirectory, 'not-a-domain'));
    await writeFile(join(host.swtpmDirectory, 'not-a-domain', 'note.txt'), 'somebody keeps something here');
    const others = [join(host.swtpmDirectory, STOPPED_DOMAIN), join(host.swtpmDirectory, 'not-a-domain')];
    const before = await Promise.all(others.map(readTree));

    await host.startAgent(t);
    for (const guest of running) {
      const volume = site.volumeOf(guest);
      await volume.waitForHead(await guest.permall());
      t.strictSame(await volume.story(), ['claim adopt', 'publish']);
      t.strictSame(
        await guest.read(guest.uuid.length),
        Buffer.from(guest.uuid),
        'its swtpm answers as before',
      );
      await guest.write(Buffer.from(guest.uuid).reverse());
      await volume.waitForHead(await guest.permall());
    }
    t.strictSame(await site.volume(STOPPED_DOMAIN).entries(), [], 'a VM that does not run has no volume yet');
    t.strictSame(await Promise.all(others.map(readTree)), before, 'nothing of the others was touched');

    const elsewhere = await site.host('kvm-b');
    for (const guest of running) await guest.stop();
    const moved = await Guest.start(t, elsewhere);
    t.strictSame(await moved.read(DOMAIN.length), Buffer.from(DOMAIN).reverse());
  },
);

t.test('G4: a VM that ran before the product came is kept at its next start', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const before = await Guest.startUnannounced(t, host);
  await before.keep(Buffer.from('older than the product'));
  await before.swtpm.stop();
  await host.startAgent(t);
  const guest = await Guest.start(t, host);
  t.strictSame(await guest.read('older than the product'.length), Buffer.from('older than the product'));
  t.strictSame((await site.volumeOf(guest).story()).slice(0, 2), ['claim start', 'publish']);
});
