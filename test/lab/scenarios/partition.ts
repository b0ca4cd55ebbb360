/**
 * partition: a host is cut off from the server, and comes back: in time, too late, with requests of a killed process still under way, or after a sleep.
 */
import {
  beginOn,
  catchCommit,
  expectFenced,
  expectHead,
  expectWhole,
  goOn,
  requestsEnded,
  bytesUnderWay,
  restPublished,
  settled,
  stopVm,
  takeOver,
} from '../acts.js';
import type { Bench, BenchOptions } from '../bench.js';
import { USUAL_MOUNT, type MountKind } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

/** Much longer than the partition of the short one, on a slow machine too. */
const PATIENT: BenchOptions = { timing: { heartbeatMs: 1000, expiryMs: 90_000, shareDeadlineMs: 20_000 } };
const SHORT_CUT_MS = 4000;
const IN_FLIGHT_MS = 1000;

async function shorterThanExpiry(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict } = bench;
  await beginOn(bench, hostA);
  hostA.cable.cut();
  const asked = bench.startVm(hostB);
  await new Promise((resolve) => setTimeout(resolve, SHORT_CUT_MS));
  hostA.cable.heal();
  const { granted, because } = await asked;
  verdict.check('G4: nobody takes over before the expiry', !granted, because);
  await restPublished(bench, hostA);
  const safety = await bench.mirror.safety(hostA);
  verdict.check('the host that came back in time goes on', safety === 'published', safety);
  await stopVm(bench, hostA);
  await takeOver(bench, hostB, hostA);
  await expectWhole(bench);
}

async function longerThanExpiry(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, ledger } = bench;
  await beginOn(bench, hostA);
  hostA.cable.cut();
  await takeOver(bench, hostB, hostA);
  const acknowledged = ledger.acknowledgedOn(hostA);
  const value = await goOn(bench, hostB);
  hostA.cable.heal();
  const lost = await bench.rest(hostA);
  await settled(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: the host that came back changes nothing');
  const safety = await bench.mirror.safety(hostA);
  verdict.check('G3: it knows that it is fenced', safety === 'fenced', safety);
  const late = ledger.acknowledgedOn(hostA);
  verdict.check(
    'G3: nothing more was acknowledged to it',
    late === acknowledged,
    `${acknowledged}, then ${late}`,
  );
  const diverged = async () => (await bench.mirror.diverged(hostB)).map((digest) => ledger.valueOf(digest));
  const kept = await bench.eventually(async () => (await diverged()).includes(lost));
  verdict.check(
    'G5: its newest state is kept as a diverged copy',
    kept,
    `${lost} among ${(await diverged()).join(', ')}`,
  );
  await stopVm(bench, hostB);
  await stopVm(bench, hostA);
  await takeOver(bench, hostA, hostB);
  await goOn(bench, hostA);
  await expectWhole(bench);
}

/** Nothing is left to be published by the host that was cut off, so that no publish of it could lose its slot. */
async function nothingToPublish(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOn(bench, hostA);
  await restPublished(bench, hostA);
  hostA.cable.cut();
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  hostA.cable.heal();
  await expectFenced(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: the host that came back changes nothing');
  await stopVm(bench, hostA);
  await expectWhole(bench);
}

/** The commit is lost on the wire and the process that sent it killed; its kernel sends it again when the network is back. */
async function commitInFlight(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOn(bench, hostA);
  await catchCommit(bench, hostA, 'lost', () => {
    hostA.cable.cut();
  });
  await new Promise((resolve) => setTimeout(resolve, IN_FLIGHT_MS));
  await bench.mirror.killService(hostA);
  await bench.killVm(hostA);
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  bench.verdict.fact('bytes still under way from kvm-a before healing', await bytesUnderWay(hostA));
  hostA.cable.heal();
  await requestsEnded(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: a late request changes nothing');
  await bench.publishOne(hostB);
  await expectWhole(bench);
}

/** All of a host stands still with a commit on the wire, for as long as it takes another to take over. */
async function pausedHost(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOn(bench, hostA);
  await catchCommit(bench, hostA, 'lost', () => {
    hostA.machine.pause();
  });
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  hostA.machine.resume();
  await bench.rest(hostA);
  await settled(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: the host that woke up changes nothing');
  await expectWhole(bench);
}

function commitInFlightOn(mount: Partial<MountKind>, name: string, words: string): Scenario {
  return {
    name: `commit-in-flight-${name}`,
    title: `the same ${words}`,
    options: { mount: { ...USUAL_MOUNT, ...mount } },
    play: commitInFlight,
  };
}

export const partitions: readonly Scenario[] = [
  {
    name: 'partition-short',
    title: 'a host is cut off for less than the expiry while the other asks for its VM',
    options: PATIENT,
    play: shorterThanExpiry,
  },
  {
    name: 'partition-long',
    title:
      'a host is cut off for longer than the expiry and goes on writing; the other takes over; the host comes back',
    short: true,
    control: true,
    play: longerThanExpiry,
  },
  {
    name: 'partition-quiet',
    title: 'the same with nothing left to publish: the host that was cut off must find out by itself',
    play: nothingToPublish,
  },
  {
    name: 'commit-in-flight',
    title:
      "a host is cut off with a commit on the wire, and its service killed; its kernel's request arrives after the take-over",
    short: true,
    control: true,
    play: commitInFlight,
  },
  commitInFlightOn({ version: '4.1' }, 'v4.1', 'over NFSv4.1'),
  commitInFlightOn({ version: '3' }, 'v3', 'over NFSv3'),
  commitInFlightOn({ recovery: 'soft' }, 'soft', 'on a soft mount'),
  {
    name: 'paused-host',
    title: 'a host stands still in the middle of a publish; the other takes over; the host wakes up',
    control: true,
    play: pausedHost,
  },
];
