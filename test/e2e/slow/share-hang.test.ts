/**
 * The agent while its share really hangs: nothing but the share's own work waits for it, nothing is lost, and nobody has to do anything when it
 * answers again.
 */
import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { mountHangingFileSystem } from '../../fixtures/hanging-filesystem.js';
import {
  DEADLINES,
  hostOn,
  memoryOnShare,
  mirroredVm,
  storageProcesses,
  troubledHost,
  untilDomain,
  untilSafe,
  untilStatus,
  watchResponsiveness,
} from '../../fixtures/share-outage.js';
import { VirtualMachine } from '../../fixtures/virtual-machine.js';

/** What a loaded machine may add to a deadline before these tests call it broken. */
const TOLERANCE_MS = 5_000;
/** An event loop that a share held up would be held up for a share deadline at least. */
const ANSWER_MS = 1_500;
const PROCESSES_MAX = 4;

t.test(
  'G5: while the share hangs, changes are kept in the spool and every question is answered at once',
  async (t) => {
    const mount = await mountHangingFileSystem(t);
    const { host, agent } = await troubledHost(t, mount.mountPoint);
    const { vm } = await mirroredVm(t, host, 'before');
    await mount.hang();
    const responsiveness = watchResponsiveness(host);

    await vm.change('during');
    const spooled = await untilSafe(vm, 'spool');
    t.ok(spooled.lagMs > 0);
    t.ok(spooled.pendingChanges >= 1);
    const memory = await vm.change('during, once more');
    await untilDomain(
      vm,
      'one more change to be in the spool',
      ({ pending, pendingChanges }) => pending === 'spooled' && pendingChanges > spooled.pendingChanges,
    );
    t.match(spooled.attention, [{ code: /^SHARE_|^OUTCOME_UNKNOWN$/ }]);
    await untilStatus(host, 'the share to count as offline', ({ share }) => share.state === 'offline');
    const capture = await vm.ask('capture', {});
    t.equal(capture.status, 503, 'a capture that the share did not take is not called a success');
    t.ok(capture.tookMs < DEADLINES.shareMs + TOLERANCE_MS, `capture took ${capture.tookMs} ms`);

    const began = performance.now();
    const { stdout } = await host.run(['status']);
    t.match(stdout, /OFFLINE/);
    t.match(
      stdout.replaceAll(/\s+/g, ' '),
      /would go back to generation \d+ and lose its last \d+ changes, of the last/,
    );
    t.ok(performance.now() - began < TOLERANCE_MS);
    t.ok((await storageProcesses(agent.pid)).length <= PROCESSES_MAX);
    const longestMs = await responsiveness.end();
    t.ok(longestMs < ANSWER_MS, `/healthz took ${longestMs} ms`);

    await mount.resume();
    const resumed = performance.now();
    await untilSafe(vm, 'share');
    const returnMs = performance.now() - resumed;
    t.ok(
      returnMs < 2 * DEADLINES.heartbeatMs + TOLERANCE_MS,
      `publishing after the return took ${returnMs} ms`,
    );
    const { share, domains } = await untilStatus(
      host,
      'the share to be online',
      ({ share }) => share.state === 'online',
    );
    t.equal(share.state, 'online');
    t.same(domains[0]?.attention, []);
    t.same(await memoryOnShare(t, host, vm), memory);
  },
);

t.test(
  'G5: a VM that stops while the share hangs, and is deleted, is on the share afterwards, whatever becomes of the agent',
  async (t) => {
    for (const ending of ['none', 'SIGTERM', 'SIGKILL'] as const) {
      await t.test(`end of the agent: ${ending}`, async (t) => {
        const mount = await mountHangingFileSystem(t);
        const { base, host, agent } = await troubledHost(t, mount.mountPoint);
        const { vm } = await mirroredVm(t, host, 'before');
        await mount.hang();
        const memory = await vm.change('last words');
        const stopped = await vm.stop({ transient: true });
        t.match(stopped, { status: 200, body: { outcome: 'spooled' } });
        t.ok(stopped.tookMs < DEADLINES.stopMs + TOLERANCE_MS, `stop took ${stopped.tookMs} ms`);

        if (ending === 'SIGTERM') {
          const began = performance.now();
          t.match(await agent.stop(), { status: 0 });
          t.ok(performance.now() - began < 2 * DEADLINES.shareMs + TOLERANCE_MS);
        }
        if (ending === 'SIGKILL') await agent.kill();
        if (ending !== 'none') await host.startAgent(t);
        await untilDomain(
          vm,
          'its final state to be safe',
          ({ state, pending }) => state === 'finishing' && pending === 'spooled',
        );

        await mount.resume();
        await untilDomain(
          vm,
          'the domain to be stopped',
          ({ state, pending }) => state === 'stopped' && pending === 'none',
        );
        const other = await hostOn(base, 'kvm-b', mount.backing);
        await other.startAgent(t);
        const elsewhere = new VirtualMachine(t, other, vm.uuid);
        await elsewhere.start();
        t.same(await elsewhere.recollect(), memory);
      });
    }
  },
);

t.test(
  'while the share is away it is asked at a bounded rate, by a bounded number of processes, in bounded memory',
  async (t) => {
    const mount = await mountHangingFileSystem(t);
    const { host, agent } = await troubledHost(t, mount.mountPoint, {
      settings: { log: { level: 'debug' } },
    });
    const { vm } = await mirroredVm(t, host, 'before');
    for (const trouble of ['hang', 'fail'] as const) {
      await (trouble === 'hang' ? mount.hang() : mount.fail('EIO'));
      await vm.change(trouble);
      await untilStatus(host, 'the share to count as offline', ({ share }) => share.state === 'offline');
      const before = requestsIn(agent.log);
      const seen = new Set<number>();
      const memoryBefore = await residentKib(agent.pid);
      const watchMs = 15_000;
      for (const until = performance.now() + watchMs; performance.now() < until;) {
        await delay(100);
        const listed = await storageProcesses(agent.pid);
        for (const pid of listed) seen.add(pid);
        // One may end while the list is made, and make room for the next: what is in two lists lived between them.
        const again = new Set(await storageProcesses(agent.pid));
        const living = listed.filter((pid) => again.has(pid));
        if (living.length > PROCESSES_MAX) t.fail(`${living.length} storage processes`);
        if (performance.now() % 5 < 1) await vm.change(`${trouble} ${performance.now()}`);
      }
      const requests = requestsIn(agent.log) - before;
      const beats = watchMs / DEADLINES.heartbeatMs;
      const tries = watchMs / (DEADLINES.retryMaxMs / 2);
      t.ok(requests <= 1.5 * (beats + 2 * tries), `${requests} requests in ${watchMs} ms of ${trouble}`);
      t.ok(seen.size <= 2 * PROCESSES_MAX, `${seen.size} storage processes in ${watchMs} ms of ${trouble}`);
      const grownKib = (await residentKib(agent.pid)) - memoryBefore;
      t.ok(grownKib < 32 * 1024, `memory grew by ${grownKib} KiB`);
      await mount.resume();
      await untilSafe(vm, 'share');
    }
  },
);

t.test(
  'an agent that starts while the share hangs serves at once, and publishes when the share answers',
  async (t) => {
    const mount = await mountHangingFileSystem(t);
    const { host, agent } = await troubledHost(t, mount.mountPoint);
    const { vm } = await mirroredVm(t, host, 'before');
    await agent.kill();
    await mount.hang();
    const memory = await vm.change('while nobody watched');
    await host.startAgent(t);
    const began = performance.now();
    const taken = await untilDomain(
      vm,
      'the running domain to be taken up',
      ({ state }) => state === 'running',
    );
    t.ok(performance.now() - began < TOLERANCE_MS);
    t.equal(taken.uuid, vm.uuid);
    await untilSafe(vm, 'spool');
    await mount.resume();
    await untilSafe(vm, 'share');
    t.same(await memoryOnShare(t, host, vm), memory);
  },
);

t.test('one archive that does not answer is told, and everything else is read all the same', async (t) => {
  const mount = await mountHangingFileSystem(t);
  const { base, host, agent } = await troubledHost(t, mount.mountPoint);
  const { vm } = await mirroredVm(t, host, 'before');
  await vm.change('more');
  await untilSafe(vm, 'share');
  await agent.stop();
  const volume = `/volumes/${vm.uuid}`;
  const generations = await readdir(join(mount.backing, volume, 'gen'));
  const [first = ''] = generations.sort();
  await mount.hang(`${volume}/gen/${first}`);

  const story = (await host.runJson(['history', vm.uuid])) as { readonly damage?: { code: string } }[];
  t.equal(story.length, generations.length);
  t.match(
    story.filter(({ damage }) => damage),
    [{ damage: { code: 'SHARE_TIMEOUT', message: /no answer within 2000 ms/ } }],
  );
  const { status, stdout } = await host.run(['verify', vm.uuid]);
  t.equal(status, 5);
  t.match(stdout, `${vm.uuid}: ${generations.length} checked, 1 damaged`);

  // A volume that does not answer at all ends no check of the others.
  const other = '11111111-2222-4333-8444-555555555555';
  await cp(join(mount.backing, volume), join(mount.backing, 'volumes', other), {
    recursive: true,
    verbatimSymlinks: true,
  });
  await mount.resume();
  await mount.hang(`/volumes/${other}`);
  const second = await hostOn(base, 'kvm-b', mount.mountPoint);
  const all = await second.run(['verify', '--all', '--json']);
  t.match(JSON.parse(all.stdout), [
    { uuid: other, problems: [{ code: 'SHARE_TIMEOUT' }] },
    { uuid: vm.uuid, checked: generations.length, damaged: [], problems: [] },
  ]);
});

function requestsIn(log: string): number {
  return log.split('\n').filter((line) => line.includes('"kind":"request-ended"')).length;
}

async function residentKib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
}
