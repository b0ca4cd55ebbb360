/**
 * A start is refused where the share is not what it should be.
 */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DOMAIN, Guest, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { isError, isRefused, siteWithHistory, VALUE } from '../../fixtures/refused-start.js';
import type { Site } from '../../fixtures/site.js';
import { readTree } from '../../fixtures/tree.js';

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

/** kvm-a, on which no agent ever ran, and another share where its own was. */
async function siteWithAnotherShare(t: Test): Promise<Site> {
  const site = await (await history).copy(t);
  await rename(site.share, join(site.base, 'the right one'));
  await site.initialise(site.share);
  return site;
}

t.test('G8: a host without an agent starts no domain that is new to it on another share', async (t) => {
  const site = await siteWithAnotherShare(t);
  const host = await site.host('kvm-a');
  const before = await readTree(site.share);
  const start = await host.run(['domain', 'prepare', OTHER_DOMAIN]);
  isError(t, start, { status: 4, code: 'SHARE_WRONG', says: /is share [0-9a-f]{32}/, next: /right export/ });
  t.strictSame(await readTree(site.share), before, 'nothing was written to the other share');
});

t.test('no command reads or writes another share in the place of the known one', async (t) => {
  const site = await siteWithAnotherShare(t);
  const host = await site.host('kvm-a');
  const before = await readTree(site.share);
  for (const args of [
    ['history', DOMAIN],
    ['restore', DOMAIN, '--to', join(site.base, 'restored')],
    ['verify', '--all'],
    ['rekey', '--all', '--decrypt'],
    ['share', 'escrow', '--none'],
    ['purge', DOMAIN, '--yes'],
  ]) {
    t.match(await host.run(args), { status: 4, stderr: /^swtpm-mirror: SHARE_WRONG: / }, args.join(' '));
  }
  t.match(await host.runJson(['status']), {
    share: { state: 'wrong' },
    attention: [{ code: 'SHARE_WRONG', next: /mount the right export/ }],
  });
  t.match(await host.run(['doctor']), { stdout: /^NO {2}share: .* is share .*, but this host's state/m });
  t.strictSame(await readTree(site.share), before, 'nothing was written to the other share');
});

t.test(
  "a host that was moved to another share on purpose goes on with each domain's own choice",
  async (t) => {
    const site = await siteWithAnotherShare(t);
    const host = await site.host('kvm-a');
    await rm(join(host.stateDirectory, 'share.json'));
    const said = {
      says: /works with share [0-9a-f]{32}, but what it knows of .* belongs to/,
      next: /--keep local/,
    };
    await isRefused(t, host, { status: 4, code: 'SHARE_WRONG', ...said });
    t.match(await host.runJson(['status']), {
      share: { state: 'online' },
      domains: [{ uuid: DOMAIN, attention: [{ code: 'SHARE_WRONG', next: /--keep local/ }] }],
    });
    await host.runJson(['resolve', DOMAIN, '--keep', 'local']);
    const guest = await Guest.start(t, host);
    t.same(await guest.read(VALUE.length), VALUE);
  },
);
