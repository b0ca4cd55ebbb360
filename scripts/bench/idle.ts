/**
 * idle: what the agent uses while nothing happens, by how many domains it looks after.
 */
import { join } from 'node:path';
import type { Status } from '../../src/agent/api/status.js';
import { waitUntil } from '../../test/fixtures/wait-until.js';
import type { Settings } from '../../test/fixtures/host.js';
import { Crowd } from './crowd.js';
import { figure } from './figures.js';
import type { Bench, Goal, Measurement, Outcome } from './measurement.js';
import { usageOf } from './process-tree.js';
import { domainUuids, Product } from './product.js';
import { Scope } from './scope.js';

const COUNTS = [500, 2000];
const JUDGED = 500;
/** A whole period of the rescan, which is what an idle agent does. */
const WINDOW_MS = 30_000;
/** None within the time. */
const NO_RESCAN = '20m';
/** Answers without a libvirtd. Where none answers, virsh is started again and again, which no hypervisor sees. */
const LIBVIRT = { uri: 'test:///default' };
/** Two rescans: the first two after a change read every file. */
const REST_MS = 65_000;
const REST_TIMEOUT_MS = 60_000;
const CPU_GOAL_PERCENT = 0.3;
const MEMORY_GOAL_MB = 160;
const BYTES_PER_MB = 1e6;

interface Observed {
  readonly domains: number;
  /** Of one core. */
  readonly cpuPercent: number;
  readonly memoryMb: number;
  readonly processes: number;
  readonly wakeUpsPerSecond: number;
  readonly inotifyWatches: number;
}

interface Idle extends Observed {
  /** Whether everything was read again, in case an event was lost (`timing.rescan`). */
  readonly rescanned: boolean;
}

async function run(bench: Bench): Promise<Outcome> {
  const counts = bench.quick ? [2, 4] : COUNTS;
  const alone = bench.quick ? 2 : JUDGED;
  // First, so that it does not have the other's processes to look through.
  bench.progress(`${alone} domains, without the rescan`);
  const without = await watchAgent(bench, 'without', { libvirt: LIBVIRT, timing: { rescan: NO_RESCAN } }, [
    alone,
  ]);
  const found = await watchAgent(bench, 'with', { libvirt: LIBVIRT }, counts);
  return report([
    ...found.map((idle) => ({ ...idle, rescanned: true })),
    ...without.map((idle) => ({ ...idle, rescanned: false })),
  ]);
}

/** One agent, with more and more domains. */
async function watchAgent(
  { directory, ...others }: Bench,
  name: string,
  settings: Settings,
  counts: readonly number[],
): Promise<Observed[]> {
  const scope = new Scope();
  const bench = { ...others, directory: join(directory, name), scope };
  try {
    const product = await Product.create(bench, settings);
    await product.start();
    const found: Observed[] = [];
    let managed = 0;
    for (const count of counts) {
      bench.progress(`${count} domains`);
      const crowd = new Crowd(product, domainUuids(count - managed, managed + 1));
      await crowd.makeStates();
      await crowd.call('prepare');
      await crowd.standIn(bench);
      await crowd.call('started');
      managed = count;
      await atRest(product, managed);
      found.push({ ...(await watch(bench, product)), domains: managed });
    }
    return found;
  } finally {
    await scope.end();
  }
}

/** Everything that the domains have is on the share. */
async function atRest({ host }: Product, domains: number): Promise<void> {
  await waitUntil(`${domains} domains to be at rest`, REST_TIMEOUT_MS, async () => {
    const { body } = await host.request({ path: '/v1/status' });
    const status = JSON.parse(body) as Pick<Status, 'domains'>;
    const resting = status.domains.filter(({ state, pending }) => state === 'running' && pending === 'none');
    return resting.length === domains ? true : undefined;
  });
}

async function watch(bench: Bench, { agent }: Product): Promise<Omit<Observed, 'domains'>> {
  if (!agent) throw new Error('expected a running agent');
  const windowMs = bench.quick ? 500 : WINDOW_MS;
  await pause(bench.quick ? 100 : REST_MS);
  const [before, beganMs] = [await usageOf(agent.pid), performance.now()];
  await pause(windowMs);
  const [after, tookMs] = [await usageOf(agent.pid), performance.now() - beganMs];
  return {
    cpuPercent: (100 * (after.cpuMs - before.cpuMs)) / tookMs,
    memoryMb: after.memoryBytes / BYTES_PER_MB,
    processes: after.processes,
    wakeUpsPerSecond: (1000 * (after.wakeUps - before.wakeUps)) / tookMs,
    inotifyWatches: after.inotifyWatches,
  };
}

function report(found: readonly Idle[]): Outcome {
  const rows = found.map((idle) => [
    nameOf(idle),
    figure(idle.cpuPercent),
    figure(idle.memoryMb),
    String(idle.processes),
    figure(idle.wakeUpsPerSecond),
    String(idle.inotifyWatches),
  ]);
  const judged = found.find(({ domains, rescanned }) => domains === JUDGED && rescanned);
  return {
    table: {
      head: ['domains', '% of one core', 'MB (PSS)', 'processes', 'wake-ups a second', 'inotify watches'],
      rows,
    },
    goals: judged ? goalsOf(judged) : [],
    notes: [
      'All processes of the agent. A stand-in with the command line of a swtpm plays each running domain, because the agent tells by that what runs. virsh, where it is installed, follows the events of libvirt’s own test driver, and is counted.',
      'Every 30 s each state is looked at, in case an event was lost, and every 5 minutes it is read; the last row is an agent that does neither.',
    ],
    samples: Object.fromEntries(
      found.flatMap((idle) => [
        [`${nameOf(idle)} domains, % of one core`, [idle.cpuPercent]],
        [`${nameOf(idle)} domains, MB`, [idle.memoryMb]],
        [`${nameOf(idle)} domains, wake-ups a second`, [idle.wakeUpsPerSecond]],
      ]),
    ),
  };
}

function nameOf({ domains, rescanned }: Idle): string {
  return rescanned ? String(domains) : `${domains}, without the rescan`;
}

function goalsOf({ domains, cpuPercent, memoryMb }: Idle): Goal[] {
  return [
    {
      text: `idle with ${domains} domains: at most ${CPU_GOAL_PERCENT} % of one core`,
      met: cpuPercent <= CPU_GOAL_PERCENT,
      found: `${figure(cpuPercent)} %`,
    },
    {
      text: `idle with ${domains} domains: at most ${MEMORY_GOAL_MB} MB over all processes`,
      met: memoryMb <= MEMORY_GOAL_MB,
      found: `${figure(memoryMb)} MB`,
    },
  ];
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export const idle: Measurement = { name: 'idle', title: 'An agent while nothing happens', run };
