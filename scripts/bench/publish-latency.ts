/**
 * publish-latency: from swtpm's rename of its state file to its being on the share: here the share is a directory of the same file system.
 *
 * Those who take a fraction of a second are measured in turn; those that wait for many seconds by design are changed beside them, at random moments,
 * so that they cost no time of their own.
 */
import {
  mirrorWithFloor,
  mirrorWithInotifywait,
  mirrorWithLsyncd,
  mirrorWithPoll,
  mirrorWithProduct,
  type Mirrored,
} from './contestants.js';
import { figure, spread, times } from './figures.js';
import { interleave } from './interleave.js';
import type { Bench, Goal, Measurement, Outcome } from './measurement.js';
import { SETTLE_MS } from './product.js';
import { median } from './statistics.js';

const OURS = 'swtpm-mirror';
/** Read only when the interval after the reading before is over. */
const CLOSE = 'swtpm-mirror, a change right after another';
const FLOOR = 'floor: a C program with the same system calls';
const INOTIFYWAIT = 'inotifywait, rsync --fsync';
const LSYNCD_1 = 'lsyncd, delay=1';
const LSYNCD = 'lsyncd, as it is';
const POLL = 'a poll every 60 s';

const ROUNDS = 40;
const POLL_MS = 60_000;
const POLLED_VMS = 16;
/** More than one state a second is not told apart by rsync, when their sizes are equal. */
const PAUSE_MS = 1100;
const SETTLE_GOAL_FLOORS = 2;
const LSYNCD_GOAL = 100;
const LSYNCD_1_GOAL = 10;

type Samples = Readonly<Record<string, readonly number[]>>;

async function run(bench: Bench): Promise<Outcome> {
  const { quick, progress } = bench;
  progress('starting the contestants');
  const ours = await mirrorWithProduct(bench);
  const floor = await mirrorWithFloor(bench);
  const inotifywait = await mirrorWithInotifywait(bench);
  const lsyncd1 = await mirrorWithLsyncd(bench, 'lsyncd-1', 1);
  const slow = await startSlow(bench);
  progress(quick ? 'one round' : `${ROUNDS} rounds, about ${Math.round((ROUNDS * 3.5) / 60)} minutes`);
  const fast = await interleave(
    {
      [OURS]: () => ours.change(),
      [CLOSE]: async () => {
        await ours.change();
        return await ours.change();
      },
      [FLOOR]: () => floor.change(),
      [INOTIFYWAIT]: () => inotifywait.change(),
      [LSYNCD_1]: async () => {
        const took = await lsyncd1.change();
        await pause(PAUSE_MS);
        return took;
      },
    },
    quick ? 1 : ROUNDS,
  );
  return report({ ...fast, ...(await slow.end()) });
}

interface SlowOnes {
  /** Begins no more changes, and waits for the first of each that waits still. */
  end(): Promise<Samples>;
}

async function startSlow(bench: Bench): Promise<SlowOnes> {
  const { quick } = bench;
  const samples: Record<string, number[]> = {};
  const firsts: Promise<void>[] = [];
  let ending = false;
  const follow = (name: string, mirrored: Mirrored, withinMs: number): void => {
    const values = (samples[name] ??= []);
    const first = new Promise<void>((resolve, reject) => {
      const repeat = async (): Promise<void> => {
        for (;;) {
          await pause(Math.random() * withinMs);
          if (ending && values.length > 0) return;
          values.push(await mirrored.change());
          resolve();
        }
      };
      repeat().catch(reject);
    });
    firsts.push(first);
  };
  const periodMs = quick ? 1000 : POLL_MS;
  for (const vm of await mirrorWithPoll(bench, periodMs, quick ? 1 : POLLED_VMS)) follow(POLL, vm, periodMs);
  if (!quick) follow(LSYNCD, await mirrorWithLsyncd(bench, 'lsyncd'), PAUSE_MS);
  return {
    end: async () => {
      ending = true;
      await Promise.all(firsts);
      return Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, [...values]]));
    },
  };
}

function report(samples: Samples): Outcome {
  const entries = Object.entries(samples);
  const ours = median(samples[OURS] ?? []);
  const rows = entries.map(([name, values]) => [
    name,
    spread(values),
    name === OURS ? '' : times(median(values) / ours),
    String(values.length),
  ]);
  return {
    table: { head: ['from the change to the share', 'ms', 'against swtpm-mirror', 'changes'], rows },
    goals: goalsOf(samples, ours),
    notes: [
      `swtpm-mirror reads a change after a rest at once, and gathers those that follow it within \`timing.settle\`, ${SETTLE_MS} ms, into one generation.`,
      'swtpm-mirror and the floor are timed to their acknowledgement after the last fsync, the others to the appearance of the file. Of those only `rsync --fsync` makes it durable, and none has a history or keeps two hosts apart.',
    ],
    samples: Object.fromEntries(entries.map(([name, values]) => [`${name}, ms`, values])),
    bars: entries.map(([label, values]) => ({
      label,
      samples: values,
      isOurs: label === OURS || label === CLOSE,
    })),
  };
}

function goalsOf(samples: Samples, ours: number): Goal[] {
  const floor = median(samples[FLOOR] ?? []);
  const slowest = Math.max(ours, median(samples[CLOSE] ?? []));
  const allowed = SETTLE_MS + SETTLE_GOAL_FLOORS * floor;
  const goals: Goal[] = [
    {
      text: `from the change to durable: at most settle + ${SETTLE_GOAL_FLOORS} × the floor`,
      met: slowest <= allowed,
      found: `${figure(ours)} ms after a rest, ${figure(slowest)} ms right after another; at most ${figure(allowed)} ms`,
    },
  ];
  const faster = (name: string, least: number): void => {
    const values = samples[name];
    if (!values) return;
    const ratio = median(values) / ours;
    goals.push({ text: `at least ${least} × faster than ${name}`, met: ratio >= least, found: times(ratio) });
  };
  faster(LSYNCD, LSYNCD_GOAL);
  faster(LSYNCD_1, LSYNCD_1_GOAL);
  return goals;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export const publishLatency: Measurement = {
  name: 'publish-latency',
  title: 'From a change to the share',
  run,
};
