/**
 * hook-overhead: what libvirt's hook costs as a whole process, at each step of a domain's life, beside an empty Node program and `/bin/true`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runChecked } from '../../test/fixtures/process.js';
import { figure, spread, times } from './figures.js';
import { interleave, timed } from './interleave.js';
import type { Bench, Goal, Measurement, Outcome } from './measurement.js';
import { domainUuid, hookCommand, hookXml, Product } from './product.js';
import { median } from './statistics.js';
import { TpmState, writeFirst } from './tpm-state.js';

/** In the order of a domain's life, which each round goes through once. */
const OPERATIONS = ['prepare', 'start', 'started', 'reconnect', 'stopped', 'release'] as const;
/** Those that read or write the share before they answer; the others cost a process and no more. */
const ON_SHARE: readonly string[] = ['prepare', 'release'];
const TRUE = '/bin/true';
const EMPTY = 'node -e 0';
const ROUNDS = 30;
const GOAL = 1.6;

interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function run(bench: Bench): Promise<Outcome> {
  const uuid = domainUuid(1);
  const product = await Product.create(bench);
  await product.start();
  await writeFirst(product.host.tpmDirectory(uuid), new TpmState().next());
  const xml = join(bench.directory, 'domain.xml');
  await writeFile(xml, hookXml(uuid, 'vm'));
  const hook = await hookCommand(product.host);
  const commands: Record<string, string[]> = { [TRUE]: [TRUE], [EMPTY]: [process.execPath, '-e', '0'] };
  for (const operation of OPERATIONS) commands[operation] = [...hook, 'vm', operation, 'begin', '-'];
  const cpu = new Map<string, number[]>();
  const trials = Object.entries(commands).map(([name, command]) => [
    name,
    async () => {
      const { wallMs, cpuMs } = await costOf(bench, xml, command);
      cpu.set(name, [...(cpu.get(name) ?? []), cpuMs]);
      return wallMs;
    },
  ]);
  const rounds = bench.quick ? 1 : ROUNDS;
  bench.progress(`${rounds} rounds`);
  const wall = await interleave(Object.fromEntries(trials) as Record<string, () => Promise<number>>, rounds);
  const work = await workAlone(product, domainUuid(2), rounds);
  return report(wall, new Map([...cpu].map(([name, values]) => [name, values.slice(1)])), work);
}

async function costOf(bench: Bench, input: string, command: readonly string[]): Promise<Cost> {
  const output = (await runChecked(bench.natives.timed, [input, ...command])).toString();
  const [wallNs = 0, cpuUs = 0, , status] = output.split(' ').map(Number);
  if (status !== 0) throw new Error(`${command.join(' ')}: expected status 0, got ${status ?? 'none'}`);
  return { wallMs: wallNs / 1e6, cpuMs: cpuUs / 1e3 };
}

/** The same work, asked of the agent without a process of its own. */
async function workAlone(product: Product, uuid: string, rounds: number): Promise<Record<string, number[]>> {
  await writeFirst(product.host.tpmDirectory(uuid), new TpmState().next());
  return await interleave(
    {
      prepare: async () => {
        const took = await timed(() => product.call(uuid, 'prepare', { name: 'vm-2' }));
        await product.call(uuid, 'started');
        return took;
      },
      release: () => timed(() => product.call(uuid, 'stopped')),
    },
    rounds,
  );
}

function report(
  wall: Readonly<Record<string, readonly number[]>>,
  cpu: ReadonlyMap<string, readonly number[]>,
  work: Readonly<Record<string, readonly number[]>>,
): Outcome {
  const empty = { wall: median(wall[EMPTY] ?? []), cpu: median(cpu.get(EMPTY) ?? []) };
  const rows = Object.entries(wall).map(([name, values]) => {
    const itsCpu = cpu.get(name) ?? [];
    const alone = work[name];
    return [
      ON_SHARE.includes(name) || OPERATIONS.some((operation) => operation === name) ? `hook ${name}` : name,
      spread(values),
      times(median(values) / empty.wall),
      spread(itsCpu),
      times(median(itsCpu) / empty.cpu),
      alone ? figure(median(alone)) : '',
    ];
  });
  const goals = [
    goalOf('processor time', OPERATIONS, (name) => median(cpu.get(name) ?? []) / empty.cpu),
    goalOf('wall time', OPERATIONS, (name) => median(wall[name] ?? []) / empty.wall),
  ];
  const samples = Object.entries(wall).flatMap(([name, values]) => [
    [`${name}, wall ms`, values] as const,
    [`${name}, cpu ms`, cpu.get(name) ?? []] as const,
  ]);
  return {
    table: {
      head: ['program', 'wall ms', `against ${EMPTY}`, 'processor ms', `against ${EMPTY}`, 'work alone, ms'],
      rows,
    },
    goals,
    notes: [
      '`prepare` and `release` answer only when their work is durable on the share and on this host; *work alone* is the same asked of the agent without a process.',
    ],
    samples: Object.fromEntries(samples),
  };
}

function goalOf(what: string, operations: readonly string[], ratioOf: (name: string) => number): Goal {
  const ratios = operations.map((name) => ({ name, ratio: ratioOf(name) }));
  const worst = ratios.reduce((one, other) => (other.ratio > one.ratio ? other : one));
  const text = `hook, ${what}: at most ${GOAL} × ${EMPTY}`;
  return { text, met: worst.ratio <= GOAL, found: `${times(worst.ratio)} at worst (${worst.name})` };
}

export const hookOverhead: Measurement = {
  name: 'hook-overhead',
  title: "libvirt's hook",
  run,
};
