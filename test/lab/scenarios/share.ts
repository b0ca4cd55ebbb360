/**
 * share: the share itself misbehaves: slow, full, replaced by an empty one, not root's.
 */
import { setTimeout } from 'node:timers/promises';

import {
  beginOn,
  comeBack,
  expectHead,
  expectWhole,
  goOn,
  restPublished,
  runPrepared,
  stopVm,
  takeOver,
} from '../acts.js';
import type { Bench } from '../bench.js';
import { USUAL_MOUNT, type Host } from '../machines/host.js';
import { SQUASH_OWNER } from '../machines/nfs-server.js';
import type { Safety } from '../mirror.js';
import type { Scenario } from '../scenario.js';

const NETEM = 'delay 60ms 20ms loss 5%';
const PUBLISHES_WHEN_SLOW = 5;
/** In which what fills the server's disk has found every block that was given up. */
const ROOM_IS_TAKEN_MS = 1500;
const SPOOL_ARRIVED = 'G5: what was safe on the host has reached the share';

async function slowNetwork(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await beginOn(bench, hostA);
  for (const { shell } of [hostA.machine, cluster.server.machine]) {
    await shell.run(`modprobe sch_netem; tc qdisc add dev eth0 root netem ${NETEM}`);
  }
  await bench.acknowledged(hostA, PUBLISHES_WHEN_SLOW);
  await restPublished(bench, hostA);
  await stopVm(bench, hostA);
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
}

/** What could not be published is safe on its host, even when that loses its power; and reaches the share when there is room. */
async function fullExport(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await beginOn(bench, hostA);
  await cluster.server.fillDisk();
  const value = await spooled(bench, hostA);
  await hostA.powerCut();
  await cluster.server.freeDisk();
  await comeBack(bench, hostA);
  await expectHead(bench, hostA, value, SPOOL_ARRIVED);
  await takeOver(bench, hostB, hostA);
  await expectWhole(bench);
}

/** The share is away, the domain stops, libvirt deletes its directory, and the host loses its power with its disk full. */
async function spoolOverReboot(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOn(bench, hostA);
  hostA.cable.cut();
  const value = await spooled(bench, hostA);
  await stopVm(bench, hostA);
  await hostA.machine.shell.run(`rm -r ${bench.place.swtpmDirectory}/${bench.place.uuid}`);
  await hostA.fillDisk();
  await hostA.powerCut();
  hostA.cable.heal();
  await comeBack(bench, hostA);
  await expectHead(bench, hostA, value, SPOOL_ARRIVED);
  await takeOver(bench, hostB, hostA);
  await expectWhole(bench);
}

/** The VM rests; its last value is not on the share but safe on its host, and stays so. @returns that value */
async function spooled(bench: Bench, host: Host): Promise<number> {
  for (;;) {
    await bench.until(`${host.name} to spool`, async () => (await bench.mirror.safety(host)) === 'spooled');
    const value = await bench.rest(host);
    await bench.mirror.look(host);
    await setTimeout(ROOM_IS_TAKEN_MS);
    if ((await decided(bench, host)) === 'spooled') return value;
    // What a publish replaced was room for this one. It is gone now that nothing is written, and the next one finds none.
    await bench.write(host);
  }
}

/** What became of the last value, once that is known. */
async function decided(bench: Bench, host: Host): Promise<Safety> {
  let safety: Safety = 'unknown';
  await bench.until(`${host.name} to have its last value safe`, async () => {
    safety = await bench.mirror.safety(host);
    return safety !== 'unknown';
  });
  return safety;
}

async function emptyExport(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster, verdict } = bench;
  await beginOn(bench, hostA);
  await restPublished(bench, hostA);
  await stopVm(bench, hostA);
  await cluster.server.emptyExport();
  const { granted, because } = await bench.startVm(hostB);
  const value = granted ? await bench.read(hostB) : undefined;
  verdict.check('G8: no start with a blank TPM', !granted || value !== undefined, because);
  const left = await cluster.server.exported();
  const seen = left || 'it is empty';
  verdict.check('G7: nothing is written to a share that is not the right one', left === '', seen);
  await cluster.server.bringExportBack();
  // Its client may remember for some seconds what was not there.
  await bench.until('the share to be there again', async () => (await bench.prepare(hostB)).granted);
  await runPrepared(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
}

/** As an ordinary user on an export where root is nobody. */
async function squashedRoot(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOn(bench, hostA);
  await restPublished(bench, hostA);
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
  await bench.cluster.powerOnHost(hostA);
}

export const shareFaults: readonly Scenario[] = [
  {
    name: 'slow-network',
    title: `the network is slow and loses packets (${NETEM}, both ways)`,
    play: slowNetwork,
  },
  {
    name: 'full-export',
    title: 'the export is full while a VM writes; its host loses its power; there is room again',
    short: true,
    control: true,
    play: fullExport,
  },
  {
    name: 'spool-over-reboot',
    title:
      'the domain stops while the share is away, its directory is deleted, and its host loses its power with its own disk full',
    control: true,
    play: spoolOverReboot,
  },
  {
    name: 'empty-export',
    title: 'an empty directory takes the place of the export',
    control: true,
    play: emptyExport,
  },
  {
    name: 'squashed-root',
    title: 'the export makes root nobody: the product works as an ordinary user',
    options: { uid: SQUASH_OWNER, mount: { ...USUAL_MOUNT, from: 'squash' } },
    play: squashedRoot,
  },
];
