/**
 * A start is refused where the share is not what it should be.
 */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { isRefused, siteWithHistory } from '../fixtures/refused-start.js';
import { readTree } from '../fixtures/tree.js';

const history = siteWithHistory(t);

for (const [what, spoil] of [
  [
    'a directory without a share marker',
    async (share: string) => await writeFile(join(share, 'a-file'), 'of somebody'),
  ],
  [
    'an empty directory, as an export that is not mounted',
    async (share: string) => await mkdir(share, { recursive: true }),
  ],
  ['nothing at all', async (share: string) => await rm(share, { recursive: true })],
] as const) {
  t.test(
    `G8: a start is refused when ${what} is where the share should be, and nothing is written there`,
    async (t) => {
      const site = await (await history).copy(t);
      await rename(site.share, join(site.base, 'unmounted'));
      await mkdir(site.share);
      await spoil(site.share);
      const before = await readTree(site.share);
      const expected = {
        status: 4,
        code: 'SHARE_NOT_INITIALIZED',
        says: /share marker/,
        next: /mounted/,
      };
      await isRefused(t, await site.host('kvm-a'), expected);
      await isRefused(t, await site.host('kvm-b'), expected);
      t.strictSame(await readTree(site.share), before, 'nothing was written to what is not the share');
    },
  );
}

t.test('G8: a start is refused when another share is mounted where the known one was', async (t) => {
  const site = await (await history).copy(t);
  await rename(site.share, join(site.base, 'the right one'));
  await site.initialise(site.share);
  await isRefused(t, await site.host('kvm-a'), {
    status: 4,
    code: 'SHARE_WRONG',
    says: /is share [0-9a-f]{32}, but this host's state belongs to share [0-9a-f]{32}/,
    next: /mount the right export/,
  });
});
