/**
 * host-power-cut: a host loses its power while its VM writes; the VM goes on on the other; the host comes back.
 */
import { beginOn, comeBack, expectHead, expectWhole, goOn, takeOver } from '../acts.js';
import type { Bench } from '../bench.js';
import type { Host } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const ACKNOWLEDGED_MAX = 12;
const EXTRA_MS_MAX = 150;

function play(rounds: number) {
  return async (bench: Bench): Promise<void> => {
    let [here, there] = [bench.hostA, bench.hostB];
    await beginOn(bench, here);
    for (let round = 1; round <= rounds; round += 1) {
      await cutWhileWriting(bench, here);
      await takeOver(bench, there, here);
      const value = await goOn(bench, there);
      await comeBack(bench, here);
      await expectHead(bench, there, value, 'G3: the host that came back changes nothing');
      if (round < rounds) await bench.write(there);
      [here, there] = [there, here];
    }
    await expectWhole(bench);
  };
}

/** At a random point: after some publishes, and a random while more. What the host's disk had before that is the least that comes back. */
async function cutWhileWriting(bench: Bench, host: Host): Promise<void> {
  await host.machine.shell.run('sync');
  await bench.acknowledged(host, 1 + Math.floor(Math.random() * ACKNOWLEDGED_MAX));
  await new Promise((resolve) => setTimeout(resolve, Math.random() * EXTRA_MS_MAX));
  await host.powerCut();
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
