/**
 * server: the NFS server loses its power, or its replies.
 */
import {
  beginOn,
  catchCommit,
  expectHead,
  expectWhole,
  goOn,
  requestsEnded,
  restPublished,
  stopVm,
  takeOver,
} from '../acts.js';
import type { Bench } from '../bench.js';
import { USUAL_MOUNT } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const CUT_MS_MAX = 500;

/** Its clients wait, and go on when it is back. */
async function powerCut(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await beginOn(bench, hostA);
  await new Promise((resolve) => setTimeout(resolve, Math.random() * CUT_MS_MAX));
  await cluster.powerCutServer();
  await cluster.powerOnServer();
  await restPublished(bench, hostA);
  const safety = await bench.mirror.safety(hostA);
  bench.verdict.check('the host goes on when the server is back', safety === 'published', safety);
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
  await cluster.powerOnHost(hostA);
}

/** Server and host at once. */
async function rackPowerCut(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await beginOn(bench, hostA);
  await bench.acknowledged(hostA, 2);
  await Promise.all([cluster.powerCutServer(), hostA.powerCut()]);
  await Promise.all([cluster.powerOnServer(), cluster.powerOnHost(hostA)]);
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
}

/** A commit is executed, its reply lost, and what the server remembered of it lost with its power: it is executed again. */
async function lostReply(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster, verdict } = bench;
  await beginOn(bench, hostA);
  const before = await bench.headValue(hostB);
  await catchCommit(bench, hostA, 'delivered', () => {
    hostA.cable.silence('server');
  });
  const executed = await bench.eventually(async () => (await bench.headValue(hostB)) !== before);
  verdict.fact('the commit whose reply was lost had been executed', executed ? 'yes' : 'no');
  await cluster.powerCutServer();
  hostA.cable.heal();
  await cluster.powerOnServer();
  const value = await restPublished(bench, hostA);
  await expectHead(bench, hostB, value, 'G4: the commit was taken for what it was, and the next ones follow');
  const safety = await bench.mirror.safety(hostA);
  verdict.check('G3: the host does not take its own commit for another', safety === 'published', safety);
  await stopVm(bench, hostA);
  await takeOver(bench, hostB, hostA);
  await expectWhole(bench);
}

/** The server comes back while a host is cut off with a commit on the wire: the late request meets a server that remembers nothing of its client. */
async function lateCommitAfterRestart(bench: Bench): Promise<void> {
  const { hostA, hostB, cluster } = bench;
  await beginOn(bench, hostA);
  await catchCommit(bench, hostA, 'lost', () => {
    hostA.cable.cut();
  });
  await cluster.powerCutServer();
  await cluster.powerOnServer();
  await bench.mirror.killService(hostA);
  await bench.killVm(hostA);
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  hostA.cable.heal();
  await requestsEnded(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: a request from before the restart changes nothing');
  await bench.publishOne(hostB);
  await expectWhole(bench);
}

export const serverFaults: readonly Scenario[] = [
  {
    name: 'lost-reply',
    title: 'the reply of a commit is lost, then the server its power: the request is executed twice',
    short: true,
    play: lostReply,
  },
  {
    name: 'lost-reply-v3',
    title: 'the same over NFSv3, which has no sessions',
    options: { mount: { ...USUAL_MOUNT, version: '3' } },
    play: lostReply,
  },
  {
    name: 'lost-reply-soft',
    title: 'the same on a soft mount, where the commit fails and has taken place',
    options: { mount: { ...USUAL_MOUNT, recovery: 'soft' } },
    play: lostReply,
  },
  {
    name: 'late-commit',
    title:
      "the server restarts while a host is cut off with a commit on the wire, which arrives after the other host's take-over",
    control: true,
    play: lateCommitAfterRestart,
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
