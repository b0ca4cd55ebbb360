/**
 * rpc: what each operation costs in requests to the server, beside the least that it can cost.
 */
import { expectWhole, stopVm } from '../acts.js';
import type { Bench } from '../bench.js';
import type { Host } from '../machines/host.js';
import { ProductMirror } from '../product-mirror.js';
import {
  describeRpcs,
  difference,
  quietRpcCounts,
  readRpcCounts,
  total,
  type RpcCounts,
} from '../rpc-counts.js';
import type { Scenario } from '../scenario.js';

const PUBLISHES = 6;
const PAUSE_MS = 10_000;
const PUBLISH_FLOOR = 5;
const HEARTBEAT_FLOOR = 1;
const CLAIM_FLOOR = 2;
/** OPEN, READ, CLOSE. */
const RESTORE_FLOOR = 3;
/**
 * Of a start on a host that knows nothing yet of the volume, with its eleven log entries, and of one where it ran last:
 * what this program asks for. What the client asks by itself (`ASKED_BY_THE_CLIENT`) comes on top.
 */
const COLD_START_MAX = 28;
const WARM_START_MAX = 9;
/** When its caches have aged, or a delegation goes back: it depends on how long things take. */
const ASKED_BY_THE_CLIENT = ['GETATTR', 'DELEGRETURN'];
/** So long that no heartbeat falls into the count of something else. */
const SILENT = { heartbeatMs: 300_000, expiryMs: 900_000, shareDeadlineMs: 20_000 };
const BEATING = { heartbeatMs: 1000, expiryMs: 3000, shareDeadlineMs: 20_000 };
const BEATS = 24;

async function measured(host: Host, work: () => Promise<unknown>): Promise<RpcCounts> {
  const before = await quietRpcCounts(host);
  await work();
  return difference(before, await quietRpcCounts(host));
}

function ours(counts: RpcCounts): number {
  return ASKED_BY_THE_CLIENT.reduce((sum, name) => sum - (counts.get(name) ?? 0), total(counts));
}

async function play(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, mirror } = bench;
  await bench.open();
  verdict.fact('prepare, a new VM', describeRpcs(await measured(hostA, () => mirror.prepare(hostA))));
  verdict.fact('first publish', describeRpcs(await measured(hostA, () => bench.runVm(hostA))));
  await bench.define(hostA);
  await measurePublishes(bench);
  verdict.fact('stop: release', describeRpcs(await measured(hostA, () => stopVm(bench, hostA))));
  const start = await measured(hostB, () => mirror.prepare(hostB));
  verdict.fact('prepare on the other host: inspect, claim, restore (cold)', describeRpcs(start));
  verdict.check(
    `a cold start costs at most ${COLD_START_MAX} beside the client's own`,
    ours(start) <= COLD_START_MAX,
    describeRpcs(start),
  );
  await measureClaim(bench);
  if (mirror instanceof ProductMirror) {
    const restore = (to: string) =>
      measured(hostB, () => mirror.command(hostB, `restore ${bench.place.uuid} --to /run/${to}`));
    verdict.fact(`restore by command (floor ${RESTORE_FLOOR})`, describeRpcs(await restore('first')));
    verdict.fact('restore by command, again', describeRpcs(await restore('second')));
  }
  await measureHeartbeats(bench);
  await expectWhole(bench);
}

/** Of a host that has the newest state itself, so that there is nothing to restore; and what a start looks at before it. */
async function measureClaim(bench: Bench): Promise<void> {
  const { hostB, verdict, mirror } = bench;
  await bench.runVm(hostB);
  await bench.publishOne(hostB);
  await stopVm(bench, hostB);
  const claim = await measured(hostB, () => mirror.prepare(hostB));
  verdict.fact(
    `prepare where the VM ran last: inspect, claim (floor ${CLAIM_FLOOR}, a beat and a link)`,
    describeRpcs(claim),
  );
  verdict.check(
    `a start where the VM ran last costs at most ${WARM_START_MAX} beside the client's own`,
    ours(claim) <= WARM_START_MAX,
    describeRpcs(claim),
  );
  await stopVm(bench, hostB);
}

/** In a row: what the client knows of the directories is fresh. After a pause: it asks for their attributes again. */
async function measurePublishes(bench: Bench): Promise<void> {
  const { hostA, verdict } = bench;
  const row = await measured(hostA, async () => {
    for (let publish = 1; publish <= PUBLISHES; publish += 1) await bench.publishOne(hostA);
  });
  verdict.fact(`${PUBLISHES} publishes in a row (floor ${PUBLISH_FLOOR} each)`, describeRpcs(row));
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  const single = await measured(hostA, () => bench.publishOne(hostA));
  verdict.fact(`a publish after a pause of ${PAUSE_MS / 1000} s`, describeRpcs(single));
  verdict.check('a publish costs its floor', ours(row) === PUBLISHES * PUBLISH_FLOOR, describeRpcs(row));
}

/** By an agent that does nothing else. */
async function measureHeartbeats(bench: Bench): Promise<void> {
  const { hostA, verdict, place, cluster, mirror } = bench;
  await mirror.killService(hostA);
  const beating = new ProductMirror({ ...place, timing: BEATING }, cluster.program);
  await beating.startService(hostA);
  const before = await readRpcCounts(hostA);
  let counts: RpcCounts = new Map();
  const beatsIn = (seen: RpcCounts): number => seen.get('WRITE') ?? 0;
  await bench.until(`${BEATS} heartbeats`, async () => {
    counts = difference(before, await readRpcCounts(hostA));
    return beatsIn(counts) >= BEATS;
  });
  const beats = beatsIn(counts);
  const each = total(counts) / beats;
  verdict.fact(`${beats} heartbeats (floor ${HEARTBEAT_FLOOR} each)`, describeRpcs(counts));
  const checked = `${each.toFixed(2)} each, the checks of the marker among them`;
  verdict.check('a heartbeat costs little more than its floor', each <= 2 * HEARTBEAT_FLOOR, checked);
}

export const rpcScenario: Scenario = {
  name: 'rpc',
  title: 'requests to the server for each operation, beside their floor',
  options: { timing: SILENT },
  play,
};
