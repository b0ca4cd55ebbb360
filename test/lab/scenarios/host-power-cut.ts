/**
 * host-power-cut: a host loses its power while its VM writes; the VM goes on on the other; the host comes back.
 */
import type { Bench } from '../bench.js';
import type { Host } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const ACKNOWLEDGED_MAX = 12;
const EXTRA_MS_MAX = 150;

function hostPowerCut(rounds: number) {
  return async (bench: Bench): Promise<void> => {
    await bench.open();
    let [here, there] = [bench.hostA, bench.hostB];
    await bench.expectVm(here);
    await bench.define(here);
    for (let round = 0; round < rounds; round += 1) {
      await bench.write(here);
      await cutWhileWriting(bench, here);
      await bench.takeOver(there, here);
      await bench.write(there);
      await bench.acknowledged(there, 2);
      const value = await bench.rest(there);
      await bench.acknowledgedValue(there, value);
      await comeBack(bench, here);
      const head = await bench.headValue(there);
      bench.verdict.check(
        'G3: the host that came back changes nothing',
        head === value,
        `the head has ${head ?? 'no known value'}, ${there.name} had published ${value}`,
      );
      [here, there] = [there, here];
    }
    await bench.verify(here);
  };
}

/** At a random point: after some publishes, and a random while more. */
async function cutWhileWriting(bench: Bench, host: Host): Promise<void> {
  await bench.acknowledged(host, 1 + Math.floor(Math.random() * ACKNOWLEDGED_MAX));
  await new Promise((resolve) => setTimeout(resolve, Math.random() * EXTRA_MS_MAX));
  await host.powerCut();
}

/** With its disk as it was, and whatever lies there. */
async function comeBack(bench: Bench, host: Host): Promise<void> {
  await bench.cluster.powerOnHost(host);
  await host.mount(bench.mount);
  await bench.mirror.startService(host);
  await bench.settled(host);
}

export const hostPowerCuts: readonly Scenario[] = [
  {
    name: 'host-power-cut',
    title: 'a host loses its power while its VM writes; the other takes over; the host comes back',
    short: true,
    control: true,
    play: hostPowerCut(1),
  },
  {
    name: 'host-power-cuts',
    title: 'hosts lose their power in turn, four times, at random points',
    play: hostPowerCut(4),
  },
];
