/**
 * The newest generation of a volume cannot be read any more.
 */
import { open, rm, truncate } from 'node:fs/promises';
import t from 'tap';
import { DOMAIN, mustRun } from '../../fixtures/guest.js';
import { isRefused, siteWithHistory } from '../../fixtures/refused-start.js';

const history = siteWithHistory(t);

for (const [what, spoil] of [
  ['cut short', async (archive: string) => await truncate(archive, 1000)],
  ['changed in one byte', async (archive: string) => await flipByte(archive, 1000)],
  ['gone', async (archive: string) => await rm(archive)],
] as const) {
  t.test(
    `G6, G8: a head whose archive is ${what} refuses the start elsewhere, and is mended where its state lies`,
    async (t) => {
      const site = await (await history).copy(t);
      const volume = site.volume(DOMAIN);
      const head = await volume.expectHead();
      await spoil(volume.archive(head));
      await isRefused(t, await site.host('kvm-b'), {
        status: 5,
        code: 'GENERATION_DAMAGED',
        says: /newest state .* is damaged: /,
        next: /verify/,
      });
      const home = await site.host('kvm-a');
      await mustRun(home, ['domain', 'prepare', DOMAIN]);
      t.ok((await volume.expectHead()).slot > head.slot, 'published again');
      await mustRun(home, ['domain', 'stopped', DOMAIN]);
      await mustRun(await site.host('kvm-b'), ['domain', 'prepare', DOMAIN]);
    },
  );
}

async function flipByte(path: string, position: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  await file.write(Buffer.of((byte[0] ?? 0) ^ 0x01), 0, 1, position);
  await file.close();
}
