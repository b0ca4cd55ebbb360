/**
 * storm: all domains of a host start at once, and stop at once, beside a plain copy of the same files that is synced.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runChecked } from '../../test/fixtures/process.js';
import { Crowd, LIBVIRT_WORKERS } from './crowd.js';
import { spread, times } from './figures.js';
import { timed } from './interleave.js';
import type { Bench, Measurement, Outcome } from './measurement.js';
import { domainUuids, hookCommand, hookXml, Product } from './product.js';
import { usageOf } from './process-tree.js';
import { median } from './statistics.js';

const DOMAINS = 500;
const ROUNDS = 2;
const GOAL = 3;
const TIMEOUT_MS = 300_000;
const WAYS = ['cp -a, each file synced', 'control socket', 'hook command'] as const;
const [COPY, SOCKET, HOOK] = WAYS;
const STORMS = ['start', 'stop'] as const;
/** What the hook command cannot be faster than. */
const EMPTY = 'node -e 0, as often';

type Way = (typeof WAYS)[number];
type Storm = (typeof STORMS)[number];
/** What one way of starting and stopping costs, ms. */
type Round = Record<Storm, number>;

async function run(bench: Bench): Promise<Outcome> {
  const domains = bench.quick ? 4 : DOMAINS;
  const product = await Product.create(bench);
  await product.start();
  const crowd = new Crowd(product, domainUuids(domains));
  bench.progress(`${domains} domains are adopted`);
  await crowd.makeStates();
  for (const verb of ['prepare', 'started', 'stopped']) await crowd.call(verb);
  const hook = await hookOn(bench, product, crowd);
  const cpu: number[] = [];
  const socket = (verb: string) => async () => {
    const before = await usageOf(product.agentPid);
    await crowd.call(verb);
    if (verb === 'prepare') cpu.push((await usageOf(product.agentPid)).cpuMs - before.cpuMs);
  };
  const samples = new Map<string, number[]>();
  for (let round = 1; round <= (bench.quick ? 1 : ROUNDS); round += 1) {
    bench.progress(`round ${round}`);
    addRound(samples, COPY, await copyBothWays(bench, product));
    addRound(samples, SOCKET, await startAndStop(crowd, socket('prepare'), socket('stopped')));
    // A thousand starts of Node take minutes, and differ little.
    if (round > 1) continue;
    const [prepare, release] = [() => hook('prepare'), () => hook('release')];
    addRound(samples, HOOK, await startAndStop(crowd, prepare, release));
    add(samples, EMPTY, await timed(() => runEmpty(bench, crowd)));
  }
  return report(samples, domains, median(cpu));
}

/** The domains have no state here, and what they change is stored by the stop. */
async function startAndStop(
  crowd: Crowd,
  prepare: () => Promise<unknown>,
  stop: () => Promise<unknown>,
): Promise<Round> {
  await crowd.removeStates();
  const start = await timed(prepare);
  await crowd.call('started');
  await crowd.change();
  return { start, stop: await timed(stop) };
}

async function hookOn(
  bench: Bench,
  { host }: Product,
  crowd: Crowd,
): Promise<(operation: string) => Promise<void>> {
  const command = await hookCommand(host);
  const xmlOf = (uuid: string): string => join(bench.directory, `${uuid}.xml`);
  await crowd.each((uuid) => writeFile(xmlOf(uuid), hookXml(uuid, `vm-${uuid}`)));
  return (operation) =>
    crowd.each(async (uuid) => {
      const words = [xmlOf(uuid), ...command, `vm-${uuid}`, operation, 'begin', '-'];
      const output = (await runChecked(bench.natives.timed, words, { timeoutMs: TIMEOUT_MS })).toString();
      if (!output.endsWith(' 0\n')) throw new Error(`the hook refused ${operation} of ${uuid}: ${output}`);
    });
}

async function runEmpty(bench: Bench, crowd: Crowd): Promise<void> {
  const words = ['/dev/null', process.execPath, '-e', '0'];
  await crowd.each(() => runChecked(bench.natives.timed, words, { timeoutMs: TIMEOUT_MS }));
}

/** The same files, between two directories of the same file system. */
async function copyBothWays(bench: Bench, { host }: Product): Promise<Round> {
  const [here, there] = [join(bench.directory, 'here'), join(bench.directory, 'there')];
  const copy = (from: string, to: string): Promise<number> =>
    timed(() =>
      runChecked('sh', ['-c', `cp -a "$1" "$2" && find "$2" -type f -exec sync {} +`, 'sh', from, to], {
        timeoutMs: TIMEOUT_MS,
      }),
    );
  await mkdir(bench.directory, { recursive: true });
  const stop = await copy(host.swtpmDirectory, there);
  const start = await copy(there, here);
  await Promise.all([here, there].map((path) => rm(path, { recursive: true })));
  return { start, stop };
}

function addRound(samples: Map<string, number[]>, way: Way, round: Round): void {
  for (const storm of STORMS) add(samples, `${storm}: ${way}`, round[storm]);
}

function add(samples: Map<string, number[]>, name: string, sample: number): void {
  samples.set(name, [...(samples.get(name) ?? []), sample]);
}

/** @param cpuMs processor time of the agent for all starts over the socket */
function report(samples: ReadonlyMap<string, number[]>, domains: number, cpuMs: number): Outcome {
  const of = (storm: Storm, way: Way): number[] => samples.get(`${storm}: ${way}`) ?? [];
  const ratio = (storm: Storm, way: Way): number => median(of(storm, way)) / median(of(storm, COPY));
  const rows = STORMS.flatMap((storm) =>
    WAYS.map((way) => [
      `${domains} domains ${storm}`,
      way,
      spread(of(storm, way).map((ms) => ms / 1000)),
      times(ratio(storm, way)),
    ]),
  );
  const empty = samples.get(EMPTY) ?? [];
  const inSeconds = spread(empty.map((ms) => ms / 1000));
  rows.push([`${domains} processes`, EMPTY, inSeconds, times(median(empty) / median(of('start', COPY)))]);
  const goals = [SOCKET, HOOK].flatMap((way) =>
    STORMS.map((storm) => ({
      text: `${domains} domains ${storm}, ${way}: within ${GOAL} × cp -a and fsync`,
      met: ratio(storm, way) <= GOAL,
      found: times(ratio(storm, way)),
    })),
  );
  return {
    table: { head: ['storm', 'by', 's', 'against the copy'], rows },
    goals,
    notes: [
      `${LIBVIRT_WORKERS} at a time, as libvirtd has workers. A start restores the state from the share, a stop publishes a changed one.`,
      `Over the socket the starts cost the agent's two processes ${(cpuMs / 1000).toFixed(2)} s of processor time, ${(cpuMs / domains).toFixed(1)} ms each, most of it on the way to the file system and back through Node's threads.`,
      'The copy is one process with one fsync a file. A start makes durable, one after the other: that a claim is under way, the claim, the state, its directory, the journal. The hook command starts a Node program for each domain besides, which no hook in Node can do without.',
    ],
    samples: Object.fromEntries([...samples].map(([name, values]) => [`${name}, ms`, values])),
  };
}

export const storm: Measurement = {
  name: 'storm',
  title: 'All domains of a host start, and stop, at once',
  run,
};
