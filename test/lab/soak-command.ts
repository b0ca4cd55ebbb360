/**
 * soak-command: `scripts/fault/soak`: a cluster, some VMs on it, and a report of what became of them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SeededRandom } from '../sim/random.js';
import { Bench } from './bench.js';
import { Cluster } from './machines/cluster.js';
import { makeShareTemplate, ProductMirror } from './product-mirror.js';
import { Soak, type SoakCounts } from './soak.js';

export interface SoakOptions {
  readonly minutes: number;
  readonly vms: number;
  readonly seed: string;
  /** Directory of the report, `soak.md` and `soak.json`. */
  readonly report: string | undefined;
}

export interface SoakReport extends SoakCounts, Omit<SoakOptions, 'report'> {
  /** Why the soak could not go on to its end. */
  readonly broken: string | undefined;
  /** The last of what the services said, when something went wrong. */
  readonly lines: readonly string[];
}

export async function runSoak(
  programs: readonly string[],
  options: SoakOptions,
  say: (text: string) => void,
  detail: (line: string) => void,
): Promise<boolean> {
  const { report: directory, ...given } = options;
  const benches: Bench[] = [];
  const cluster = await Cluster.start(programs, (event) => {
    for (const bench of benches) bench.take(event);
  });
  try {
    await makeShareTemplate(cluster.program);
    benches.push(...makeBenches(cluster, options.vms, detail));
    const random = new SeededRandom(options.seed);
    const soak = new Soak(cluster, benches, random, say);
    const broken = await soak.run(options.minutes).then(
      () => undefined,
      (error: unknown) => String(error),
    );
    const counts = soak.counts();
    const isGood = broken === undefined && counts.violations.length === 0;
    const report = { ...given, ...counts, broken, lines: isGood ? [] : (benches[0]?.lines ?? []) };
    if (directory !== undefined) await writeReport(directory, report);
    console.log(markdown(report));
    return isGood;
  } finally {
    await cluster.end();
  }
}

function makeBenches(cluster: Cluster, count: number, detail: (line: string) => void): Bench[] {
  return Array.from(
    { length: count },
    (_, at) =>
      new Bench({
        cluster,
        id: `vm${at + 1}`,
        site: 'soak',
        makeMirror: (place, program) => new ProductMirror(place, program),
        isControl: false,
        // All of them hear the same services.
        onLine: at === 0 ? detail : () => undefined,
        options: {},
      }),
  );
}

async function writeReport(directory: string, report: SoakReport): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'soak.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(directory, 'soak.md'), markdown(report));
}

function markdown(report: SoakReport): string {
  const { minutes, vms, seed, faults, takeOvers, acknowledged, checks, violations, broken } = report;
  const total = Object.values(faults).reduce((sum, count) => sum + count, 0);
  const rows = Object.entries(faults).sort(([, one], [, other]) => other - one);
  return [
    `${minutes} minutes, ${vms} VMs on two hosts and an NFS server, seed ${seed}\n`,
    '| | |',
    '| --- | --- |',
    `| faults | ${total} |`,
    ...rows.map(([name, count]) => `| – ${name} | ${count} |`),
    `| starts on the other host | ${takeOvers} |`,
    `| states acknowledged | ${acknowledged} |`,
    `| checks | ${checks} |`,
    `| **lost, torn or overwritten** | **${violations.length}** |`,
    '',
    ...violations.map((violation) => `- ${violation}`),
    ...(broken === undefined ? [] : [`Not played to its end: ${broken}`]),
  ].join('\n');
}
