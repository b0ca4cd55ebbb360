import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { FileSystem } from '../../src/model/filesystem.js';
import { VirtualClock } from '../sim/clock.js';
import { SimulatedDisk } from '../sim/disk.js';
import { SimulatedNfs } from '../sim/nfs.js';
import { SimulatedProcess } from '../sim/process.js';
import { SeededRandom } from '../sim/random.js';
import { Trace } from '../sim/trace.js';
import { filesystemConformance } from './filesystem.js';

/** Lets virtual time pass for as long as the test takes, since the suite knows nothing of it. */
async function withPassingTime(clock: VirtualClock, test: Promise<void>): Promise<void> {
  let over = false;
  const end = (): void => {
    over = true;
  };
  test.then(end, end);
  const isOver = (): boolean => over;
  while (!isOver()) {
    await clock.run(clock.nowMs + 10);
    await setImmediate();
  }
  await test;
}

function conforms(
  t: Test,
  makeClient: (clock: VirtualClock, random: SeededRandom) => FileSystem,
): Promise<void> {
  const clock = new VirtualClock();
  const fs = makeClient(clock, new SeededRandom('conformance'));
  let roots = 0;
  const suite = filesystemConformance(t, async () => {
    roots += 1;
    const root = `/root-${roots}`;
    await fs.mkdir('conformance:mkdir', root, 0o700);
    return { fs, root };
  });
  return withPassingTime(clock, suite);
}

t.test('the simulated disk conforms', (t) =>
  conforms(t, (clock, random) => {
    const disk = new SimulatedDisk({ clock, random, trace: new Trace() });
    return disk.fileSystem(new SimulatedProcess('kvm-a'));
  }),
);

t.test('the simulated NFS conforms when nothing goes wrong', (t) =>
  conforms(t, (clock, random) => {
    const nfs = new SimulatedNfs({ clock, random, trace: new Trace() });
    return nfs.client(new SimulatedProcess('kvm-a'));
  }),
);
