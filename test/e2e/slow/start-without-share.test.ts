/**
 * Starts while the share hangs: refused in time with nothing touched, or, by the operator's policy, from the last state that this host knows.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { tree } from '../../fakes/host-rig.js';
import { mountHangingFileSystem } from '../../fixtures/hanging-filesystem.js';
import type { HostFixture } from '../../fixtures/host.js';
import {
  DEADLINES,
  hostOn,
  memoryOnShare,
  mirroredVm,
  troubledHost,
  untilDomain,
  untilSafe,
  untilStatus,
} from '../../fixtures/share-outage.js';
import { uuidOf } from '../../fixtures/share-calls.js';
import { VirtualMachine } from '../../fixtures/virtual-machine.js';

/** What a loaded machine may add to a deadline before these tests call it broken; starting the program alone takes a second of it. */
const TOLERANCE_MS = 5_000;
const LAST_KNOWN = { start: { without_share: 'last-known' } };

async function untilReleased(vm: VirtualMachine): Promise<void> {
  await untilDomain(
    vm,
    'the volume to be released',
    ({ state, pending }) => state === 'stopped' && pending === 'none',
  );
}

/** The start by the command is refused within its deadline, with exit status 4, and changes nothing in the host's TPM directories. */
async function expectRefused(t: Test, host: HostFixture, uuid: string): Promise<void> {
  const before = await tree(host.swtpmDirectory);
  const began = performance.now();
  const { status, stdout, stderr } = await host.run(['domain', 'prepare', uuid]);
  const tookMs = performance.now() - began;
  t.equal(status, 4, stderr);
  t.match(stderr, /^swtpm-mirror: SHARE_(TIMEOUT|UNAVAILABLE): .+\n {2}.+\n$/);
  t.equal(stdout, '');
  // Without an agent the command ends its own storage process, which has a share deadline for that.
  t.ok(tookMs < DEADLINES.startMs + DEADLINES.shareMs + TOLERANCE_MS, `refused after ${tookMs} ms`);
  t.same(await tree(host.swtpmDirectory), before);
}

t.test('G8: while the share hangs a start is refused within its deadline and touches nothing', async (t) => {
  const mount = await mountHangingFileSystem(t);
  const { host, agent } = await troubledHost(t, mount.mountPoint);
  const { vm: kept } = await mirroredVm(t, host, 'kept', 'a');
  await kept.stop({ transient: false });
  const { vm: deleted, memory } = await mirroredVm(t, host, 'deleted', 'b');
  await deleted.stop({ transient: true });
  await mount.hang();
  await t.test('state in place', (t) => expectRefused(t, host, kept.uuid));
  await t.test('no state', (t) => expectRefused(t, host, deleted.uuid));
  await t.test('a domain that nobody has seen', (t) => expectRefused(t, host, uuidOf('c')));
  await agent.kill();
  await t.test('without an agent', (t) => expectRefused(t, host, deleted.uuid));

  await host.startAgent(t);
  const starting = deleted.start();
  await delay(2 * DEADLINES.shareMs);
  await mount.resume();
  await starting;
  t.same(await deleted.recollect(), memory, 'a start that still waits when the share returns goes on');
});

t.test(
  'by policy a VM starts from its local state while the share hangs, and is published afterwards',
  async (t) => {
    const mount = await mountHangingFileSystem(t);
    const { host } = await troubledHost(t, mount.mountPoint, { settings: LAST_KNOWN });
    const { vm, memory } = await mirroredVm(t, host, 'before');
    await vm.stop({ transient: false });
    await mount.hang();
    const prepared = await vm.ask('prepare', { name: 'vm' });
    t.match(prepared, { status: 200, body: { decision: 'keep-unverified' } });
    t.ok(prepared.tookMs < DEADLINES.startMs + TOLERANCE_MS, `prepared after ${prepared.tookMs} ms`);
    await vm.powerOn();
    await vm.ask('started', {});
    t.same(await vm.recollect(), memory);
    const changed = await vm.change('started without the share');
    await untilSafe(vm, 'spool');
    await mount.resume();
    await untilSafe(vm, 'share', ({ state }) => state === 'running');
    t.same(await memoryOnShare(t, host, vm), changed);
  },
);

t.test(
  'G5: by policy a VM whose directory is gone starts from the spool while the share hangs',
  async (t) => {
    const mount = await mountHangingFileSystem(t);
    const { host, agent } = await troubledHost(t, mount.mountPoint, { settings: LAST_KNOWN });
    const { vm } = await mirroredVm(t, host, 'before');
    await mount.hang();
    const memory = await vm.change('only in the spool');
    t.match(await vm.stop({ transient: true }), { body: { outcome: 'spooled' } });
    await agent.kill();
    await host.startAgent(t);
    const prepared = await vm.ask('prepare', { name: 'vm' });
    t.match(prepared, { status: 200, body: { decision: 'restore-spooled' } });
    t.ok(prepared.tookMs < DEADLINES.startMs + TOLERANCE_MS, `prepared after ${prepared.tookMs} ms`);
    await vm.powerOn();
    await vm.ask('started', {});
    t.same(await vm.recollect(), memory);
    await mount.resume();
    await untilDomain(
      vm,
      'the volume to be held again',
      ({ pending, holder }) => pending === 'none' && holder !== null,
    );
    t.same(await memoryOnShare(t, host, vm), memory);

    await t.test('a domain that this host does not know is refused all the same', async (t) => {
      await mount.hang();
      await expectRefused(t, host, uuidOf('f'));
    });
  },
);

t.test(
  'G3 G5: what ran here while another host took over is kept as a diverged copy, never the head',
  async (t) => {
    for (const ranOn of [true, false]) {
      await t.test(
        ranOn ? 'the VM runs on while its host is cut off' : 'the VM starts again while its host is cut off',
        async (t) => {
          const mount = await mountHangingFileSystem(t);
          const { base, host } = await troubledHost(t, mount.mountPoint, { settings: LAST_KNOWN });
          const { vm } = await mirroredVm(t, host, 'common past');
          if (!ranOn) {
            await vm.stop({ transient: false });
            await untilReleased(vm);
          }
          await mount.hang();
          if (!ranOn) await vm.start();
          const lost = await vm.change('of the host that was cut off');
          await untilSafe(vm, 'spool');

          const other = await hostOn(base, 'kvm-b', mount.backing);
          await other.startAgent(t);
          const elsewhere = new VirtualMachine(t, other, vm.uuid);
          await elsewhere.start();
          const memory = await elsewhere.change('of the host that took over');
          await untilSafe(elsewhere, 'share');

          await mount.resume();
          const fenced = await untilDomain(
            vm,
            'the host to be fenced',
            ({ state, pending }) => state === 'fenced' && pending === 'none',
          );
          t.match(fenced, { holder: { host: 'kvm-b' }, attention: [{ code: /^(FENCED|HELD_ELSEWHERE)$/ }] });
          t.same(await memoryOnShare(t, other, vm), memory, 'the head is the one of the host that took over');
          const diverged = join(mount.backing, 'volumes', vm.uuid, 'diverged');
          t.match(await readdir(diverged), [/^\d+-e\d+-kvm-a-/]);
          t.notSame(lost.secret, memory.secret);
        },
      );
    }
  },
);

t.test('a start that fails after the volume was claimed gives it back', async (t) => {
  const mount = await mountHangingFileSystem(t);
  const { base, host } = await troubledHost(t, mount.mountPoint);
  const { vm, memory } = await mirroredVm(t, host, 'before');
  await vm.stop({ transient: true });
  await untilReleased(vm);
  await mkdir(dirname(host.tpmDirectory(vm.uuid)), { recursive: true });
  await writeFile(host.tpmDirectory(vm.uuid), 'no directory');
  const refused = await vm.ask('prepare', { name: 'vm' });
  t.match(refused, { status: 422, body: { error: { code: 'STATE_INVALID' } } });
  await untilStatus(host, 'the volume to be released', ({ domains }) =>
    domains.every(({ holder }) => holder === null),
  );
  const other = await hostOn(base, 'kvm-b', mount.backing);
  await other.startAgent(t);
  const elsewhere = new VirtualMachine(t, other, vm.uuid);
  await elsewhere.start();
  t.same(await elsewhere.recollect(), memory);
});
