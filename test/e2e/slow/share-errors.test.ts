/**
 * The share answers, but with errors: every one of them leaves the state in the spool and tells what to do, and when it is over all goes on by
 * itself. A share that is not the right one is never written to.
 */
import { mkdir, readdir } from 'node:fs/promises';
import type { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { formatSlot } from '../../../src/model/generation-name.js';
import { tree } from '../../fakes/host-rig.js';
import { mountHangingFileSystem } from '../../fixtures/hanging-filesystem.js';
import { mount } from '../../fixtures/mount.js';
import { runChecked } from '../../fixtures/process.js';
import {
  DEADLINES,
  memoryOnShare,
  mirroredVm,
  statusOf,
  troubledHost,
  untilSafe,
  untilStatus,
} from '../../fixtures/share-outage.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { VolumeView } from '../../fixtures/volume-view.js';

/** What each error of the share means to the operator. */
const MEANINGS: Partial<Record<keyof typeof constants.errno, RegExp>> = {
  EIO: /^SHARE_UNAVAILABLE$/,
  ESTALE: /^SHARE_UNAVAILABLE$/,
  EROFS: /^SHARE_DENIED$/,
  EACCES: /^SHARE_DENIED$/,
  ENOSPC: /^SHARE_FULL$/,
  EDQUOT: /^SHARE_FULL$/,
  ENAMETOOLONG: /^SHARE_UNAVAILABLE$/,
};

/** Where the commit is made, which cannot be read back either. */
const NEXT_SLOT = 'the next slot';

/** The errors that are tried at every place; the others differ from them in their meaning alone. */
const EVERYWHERE: ReadonlySet<string> = new Set(['EIO', 'ENOSPC']);

t.test(
  'G1 G5: whatever error the share answers, and wherever, nothing is lost and it ends without anybody',
  async (t) => {
    const sick = await mountHangingFileSystem(t);
    const { host } = await troubledHost(t, sick.mountPoint);
    const { vm } = await mirroredVm(t, host, 'before');
    const volume = `/volumes/${vm.uuid}`;
    for (const [errno, meaning] of Object.entries(MEANINGS) as [keyof typeof constants.errno, RegExp][]) {
      // The archive's temporary file; its rename; the claim, which is looked at before the commit; the heartbeat.
      const places = [`${volume}/gen/.tmp-`, `${volume}/gen/0`, `${volume}/log/`, NEXT_SLOT, '/hosts/'];
      for (const place of ['', ...(EVERYWHERE.has(errno) ? places : [])]) {
        await t.test(
          `${errno} at ${place === '' ? 'every path' : place.replace(vm.uuid, '<uuid>')}`,
          async (t) => {
            const top = (await new VolumeView(sick.backing, vm.uuid).entries()).at(-1)?.slot ?? 0;
            const prefix = place === NEXT_SLOT ? `${volume}/log/${formatSlot(top + 1)}` : place;
            await sick.fail(errno, prefix);
            const memory = await vm.change(`${errno} ${prefix.slice(-8)}`);
            if (prefix === '/hosts/') {
              const { attention } = await untilStatus(
                host,
                'the heartbeat to fail',
                ({ share }) => share.state === 'offline',
              );
              t.match(attention, [{ code: /^SHARE_/, message: new RegExp(errno) }]);
            } else {
              const { attention } = await untilSafe(vm, 'spool');
              const code = place === NEXT_SLOT ? 'OUTCOME_UNKNOWN' : meaning;
              t.match(attention, [{ code, message: new RegExp(errno), next: /.{20,}/ }]);
            }
            await sick.resume();
            await untilSafe(vm, 'share');
            await untilStatus(
              host,
              'nothing to need attention',
              ({ attention, domains, share }) =>
                share.state === 'online' &&
                attention.length === 0 &&
                domains.every((domain) => domain.attention.length === 0),
            );
            t.same(await memoryOnShare(t, host, vm), memory);
            t.match(await host.run(['verify', vm.uuid]), { status: 0, stdout: / 0 damaged/ });
          },
        );
      }
    }
  },
);

/** A small real file system under a path, as another export mounted there; gone at the end of the test. */
async function mountTmpfs(t: TestScope, path: string): Promise<() => Promise<void>> {
  return await mount(t, ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs'], path);
}

t.test('an emptied mount point is not the share, and gets nothing', async (t) => {
  const path = join(await temporaryDirectory(t), 'share');
  const kept = join(await temporaryDirectory(t), 'kept');
  for (const directory of [path, kept]) await mkdir(directory);
  const unmount = await mountTmpfs(t, path);
  const { host } = await troubledHost(t, path);
  const { vm } = await mirroredVm(t, host, 'before');
  await mount(t, ['--bind', path], kept);
  await unmount();

  const memory = await vm.change('after the umount');
  await untilSafe(vm, 'spool');
  const { attention } = await untilStatus(
    host,
    'the share to be wrong',
    ({ share }) => share.state === 'wrong',
  );
  t.match(attention, [{ code: 'SHARE_NOT_INITIALIZED', next: /export is mounted/ }]);
  t.same(await readdir(path), [], 'nothing was written below the mount point');

  await mount(t, ['--bind', kept], path);
  await untilSafe(vm, 'share');
  t.same(await memoryOnShare(t, host, vm), memory);
});

t.test(
  'another share in the place of the right one gets nothing, not even one with the same volumes',
  async (t) => {
    for (const kind of ['a new share', 'an older copy of the volumes under another id'] as const) {
      await t.test(kind, async (t) => {
        const path = join(await temporaryDirectory(t), 'share');
        const other = join(await temporaryDirectory(t), 'other');
        for (const directory of [path, other]) await mkdir(directory);
        await mountTmpfs(t, path);
        const { host } = await troubledHost(t, path);
        const { vm } = await mirroredVm(t, host, 'before');
        await mountTmpfs(t, other);
        t.match(await host.run(['share', 'init', other]), { status: 0 });
        if (kind !== 'a new share') await runChecked('cp', ['-a', join(path, 'volumes'), other]);
        const before = await tree(other);

        const unmount = await mount(t, ['--bind', other], path);
        const memory = await vm.change('after the exchange');
        await untilSafe(vm, 'spool');
        const { attention } = await untilStatus(
          host,
          'the share to be wrong',
          ({ share }) => share.state === 'wrong',
        );
        t.match(attention, [{ code: 'SHARE_WRONG', next: /mount the right export/ }]);
        await delay(8 * DEADLINES.heartbeatMs);
        t.match(await statusOf(host), { share: { state: 'wrong' } });
        const start = await host.run(['domain', 'prepare', '11111111-2222-4333-8444-555555555555']);
        t.match(start, { status: 4, stderr: /SHARE_WRONG/ });
        t.same(await tree(other), before, 'the other share is as it was');

        await unmount();
        await untilSafe(vm, 'share');
        t.same(await memoryOnShare(t, host, vm), memory);
      });
    }
  },
);
