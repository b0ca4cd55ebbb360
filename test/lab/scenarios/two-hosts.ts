/**
 * two-hosts: both hosts want the VM; or disagree about the time.
 */
import { beginOn, expectWhole, goOn, restPublished, runPrepared, stopVm, takeOver } from '../acts.js';
import type { Bench } from '../bench.js';
import type { Scenario } from '../scenario.js';

const ROUNDS = 2;
/** Slows what each host sees of the other, so that both have looked before either has acted. */
const NETEM = 'delay 300ms';

async function bothStart(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, cluster } = bench;
  await beginOn(bench, hostA);
  await restPublished(bench, hostA);
  await stopVm(bench, hostA);
  let last = hostA;
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const { machine } of cluster.hosts) {
      await machine.shell.run(`tc qdisc add dev eth0 root netem ${NETEM}`);
    }
    const permissions = await Promise.all(cluster.hosts.map((host) => bench.mirror.prepare(host)));
    for (const { machine } of cluster.hosts) await machine.shell.run('tc qdisc del dev eth0 root');
    const winners = cluster.hosts.filter((_, at) => permissions[at]?.granted);
    const seen = permissions
      .map(({ granted, because }) => `${granted ? 'granted' : 'refused'}: ${because}`)
      .join('; ');
    verdict.check('G3: exactly one of two hosts starts the VM', winners.length === 1, seen);
    const [winner = hostB] = winners;
    await runPrepared(bench, winner, last);
    await goOn(bench, winner);
    await stopVm(bench, winner);
    last = winner;
  }
  await expectWhole(bench);
}

async function clockSkew(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict } = bench;
  await beginOn(bench, hostA);
  for (const skew of ['+', '-']) {
    await hostB.machine.shell.run(
      `date -s @$(( $(date +%s) ${skew} ${skew === '+' ? 3600 : 7200} )) >/dev/null`,
    );
    const { granted, because } = await bench.startVm(hostB);
    verdict.check(`G4: a clock that is an hour off (${skew}) makes no live host expire`, !granted, because);
  }
  await bench.acknowledged(hostA, 1);
  await bench.rest(hostA);
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await expectWhole(bench);
  await bench.cluster.powerOnHost(hostA);
}

export const twoHosts: readonly Scenario[] = [
  {
    name: 'both-start',
    title: 'both hosts start the same VM at once, twice',
    control: true,
    play: bothStart,
  },
  {
    name: 'clock-skew',
    title: "a host's clock is an hour ahead, then an hour behind",
    control: true,
    play: clockSkew,
  },
];
