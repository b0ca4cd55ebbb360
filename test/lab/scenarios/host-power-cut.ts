/**
 * host-power-cut: a host loses its power while its VM writes; the VM goes on on the other; the host comes back.
 */
import type { Bench } from '../bench.js';
import type { Host } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const ACKNOWLEDGED_MAX = 12;
const EXTRA_MS_MAX = 150;

function play(rounds: number) {
  return async (bench: Bench): Promise<void> => {
    let [here, there] = [bench.hostA, bench.hostB];
    await bench.beginOn(here);
    for (let round = 1; round <= rounds; round += 1) {
      await cutWhileWriting(bench, here);
      await bench.takeOver(there, here);
      const value = await bench.goOn(there);
      await comeBack(bench, here);
      await bench.expectHead(there, value, 'G3: the host that came back changes nothing');
      if (round < rounds) await bench.write(there);
      [here, there] = [there, here];
    }
    await bench.verify();
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
    play: play(1),
  },
  {
    name: 'host-power-cuts',
    title: 'hosts lose their power in turn, four times, at random points',
    play: play(4),
  },
];
