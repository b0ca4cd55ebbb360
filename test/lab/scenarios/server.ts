/**
 * server: the NFS server loses its power, or its replies.
 */
import type { Bench } from '../bench.js';
import { USUAL_MOUNT } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const CUT_MS_MAX = 500;

/** Its clients wait, and go on when it is back. */
async function powerCut(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await bench.beginOn(hostA);
  await new Promise((resolve) => setTimeout(resolve, Math.random() * CUT_MS_MAX));
  await cluster.powerCutServer();
  await cluster.powerOnServer();
  await bench.restPublished(hostA);
  const safety = await bench.mirror.safety(hostA);
  bench.verdict.check('the host goes on when the server is back', safety === 'published', safety);
  await hostA.powerCut();
  await bench.takeOver(hostB, hostA);
  await bench.goOn(hostB);
  await bench.verify();
  await cluster.powerOnHost(hostA);
}

/** Server and host at once. */
async function rackPowerCut(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await bench.beginOn(hostA);
  await bench.acknowledged(hostA, 2);
  await Promise.all([cluster.powerCutServer(), hostA.powerCut()]);
  await Promise.all([cluster.powerOnServer(), cluster.powerOnHost(hostA)]);
  await bench.takeOver(hostB, hostA);
  await bench.goOn(hostB);
  await bench.verify();
}

/** A commit is executed, its reply lost, and what the server remembered of it lost with its power: it is executed again. */
async function lostReply(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster, verdict } = bench;
  await bench.beginOn(hostA);
  const before = await bench.headValue(hostB);
  await bench.catchCommit(hostA, 'delivered', () => {
    hostA.cable.silence('server');
  });
  const executed = await bench.eventually(async () => (await bench.headValue(hostB)) !== before);
  verdict.fact('the commit whose reply was lost had been executed', executed ? 'yes' : 'no');
  await cluster.powerCutServer();
  hostA.cable.heal();
  await cluster.powerOnServer();
  const value = await bench.restPublished(hostA);
  await bench.expectHead(hostB, value, 'G4: the commit was taken for what it was, and the next ones follow');
  const safety = await bench.mirror.safety(hostA);
  verdict.check('G3: the host does not take its own commit for another', safety === 'published', safety);
  await bench.stopVm(hostA);
  await bench.takeOver(hostB, hostA);
  await bench.verify();
}

export const serverFaults: readonly Scenario[] = [
  {
    name: 'lost-reply',
    title: 'the reply of a commit is lost, then the server its power: the request is executed twice',
    play: lostReply,
  },
  {
    name: 'server-power-cut',
    title: 'the server loses its power while a VM writes, then the host',
    play: powerCut,
  },
  { name: 'rack-power-cut', title: 'the server and a host lose their power at once', play: rackPowerCut },
  {
    name: 'rack-power-cut-async',
    title: 'the same with an export that is `async`: known to lose what was acknowledged',
    unsafe: true,
    options: { mount: { ...USUAL_MOUNT, from: 'async' } },
    play: rackPowerCut,
  },
];
