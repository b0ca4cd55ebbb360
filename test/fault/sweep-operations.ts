/**
 * sweep-operations: breaks operations call by call, and judges what is left.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../src/model/errors.js';
import { DOMAIN, Guest, PERMALL } from '../fixtures/guest.js';
import type { HostFixture } from '../fixtures/host.js';
import { Site } from '../fixtures/site.js';
import { temporaryDirectory, type TestScope } from '../fixtures/temporary-directory.js';
import { VolumeView } from '../fixtures/volume-view.js';
import { SeededRandom } from '../sim/random.js';
import { awayOf, SECOND, type Operation } from './operations.js';
import { recordCalls, runWithFault, type Fault, type SystemCall } from './system-calls.js';

export interface SweepOptions {
  /** How many faults of each operation; all when `undefined`. */
  readonly sample: number | undefined;
  readonly seed: string;
  readonly say: (line: string) => void;
}

export interface SweepReport {
  readonly faults: number;
  /** Faults in spite of which the command succeeded. */
  readonly unnoticed: number;
  readonly failures: readonly string[];
}

/** Timings under which a command that cannot reach the share gives up soon. */
const TIMINGS = { share_deadline: '4s', start_deadline: '6s', stop_deadline: '4s' };
const TAKES_SPACE: readonly string[] = [
  'openat',
  'write',
  'pwrite64',
  'fsync',
  'close',
  'mkdir',
  'symlink',
  'rename',
];

export async function sweepOperations(
  operations: readonly Operation[],
  options: SweepOptions,
): Promise<SweepReport> {
  const report = { faults: 0, unnoticed: 0, failures: [] as string[] };
  for (const operation of operations) {
    await inScope(async (scope) => {
      const world = await makeWorld(scope, operation, options);
      options.say(`${operation.name}: ${world.cases.length} faults`);
      for (const each of world.cases) {
        report.faults += 1;
        try {
          if (await inScope((inner) => breakOnce(inner, world, each))) report.unnoticed += 1;
        } catch (error) {
          const { call, fault } = each;
          const text = `${operation.name}: ${fault} at ${call.name} ${call.number}: ${String(error)}`;
          report.failures.push(text);
          options.say(`FAILED ${text}`);
        }
      }
    });
  }
  return report;
}

async function inScope<T>(work: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new Scope();
  try {
    return await work(scope);
  } finally {
    await scope.end();
  }
}

interface World {
  readonly operation: Operation;
  readonly site: Site;
  /** Contents of swtpm's state file that the share had acknowledged before, oldest first. */
  readonly acknowledged: readonly Buffer[];
  /** What a start must find in the end. */
  readonly newest: Buffer;
  readonly cases: readonly Case[];
}

interface Case {
  readonly call: SystemCall;
  readonly fault: Fault;
}

async function makeWorld(scope: Scope, operation: Operation, options: SweepOptions): Promise<World> {
  const site = await Site.create(scope, { timing: TIMINGS });
  await operation.arrange(scope, site);
  const volume = await volumeOf(site);
  const acknowledged = await Promise.all((await volume.published()).map((name) => volume.permallOf(name)));
  const local = operation.stores ? await localState(await site.host(operation.host)) : undefined;
  const newest = local ?? acknowledged.at(-1);
  if (!newest) throw new Error(`${operation.name}: expected a state before it`);
  const cases = await casesOf(scope, operation, site);
  const random = new SeededRandom(options.seed).fork(operation.name);
  return { operation, site, acknowledged, newest, cases: sampled(cases, options.sample, random) };
}

/** A run without a fault tells what there is to break. */
async function casesOf(scope: Scope, { args, host, name }: Operation, site: Site): Promise<Case[]> {
  const copy = await site.copy(scope);
  const { config } = await copy.host(host);
  const record = join(await temporaryDirectory(scope), 'calls');
  const { result, calls } = await recordCalls({ args, config }, copy.base, record);
  if (result.status !== 0) throw new Error(`${name} fails without a fault: ${result.stderr}`);
  return calls.flatMap((call) => {
    const faults: Fault[] = ['KILL', 'EIO', ...(TAKES_SPACE.includes(call.name) ? ['ENOSPC' as const] : [])];
    return faults.map((fault) => ({ call, fault }));
  });
}

function sampled(cases: readonly Case[], size: number | undefined, random: SeededRandom): readonly Case[] {
  if (size === undefined) return cases;
  const left = [...cases];
  const taken: Case[] = [];
  while (taken.length < size && left.length > 0) {
    taken.push(...left.splice(random.int(0, left.length - 1), 1));
  }
  return taken;
}

/**
 * @returns whether the command succeeded in spite of the fault
 * @throws Error what a guarantee says against what is found
 */
async function breakOnce(scope: Scope, world: World, { call, fault }: Case): Promise<boolean> {
  const { operation } = world;
  const site = await world.site.copy(scope);
  const host = await site.host(operation.host);
  const { status } = await runWithFault({ args: operation.args, config: host.config }, call, fault);
  const isDone = status === 0;
  await judge(world, site, host, isDone);
  // A manager that was told that the state is safe may delete it.
  if (isDone && operation.stores) await rm(join(host.swtpmDirectory, DOMAIN), { recursive: true });
  await host.expireLocks();
  await operation.complete(host, site);
  const guest = await Guest.startUnannounced(scope, host);
  const value = await guest.read(SECOND.length);
  if (!value.equals(SECOND)) throw new Error(`G4: the domain starts with '${value.toString()}'`);
  return isDone;
}

async function judge(world: World, site: Site, host: HostFixture, isDone: boolean): Promise<void> {
  const { acknowledged, newest, operation } = world;
  const known = [...acknowledged, newest];
  const volume = await volumeOf(site);
  const published = await Promise.all((await volume.published()).map((name) => volume.permallOf(name)));
  if (!published.every((state) => isOneOf(known, state))) {
    throw new Error('G1: a published state is not whole');
  }
  const head = published.at(-1);
  const heads = operation.mayLeave === 'older' ? known : [...acknowledged.slice(-1), newest];
  if (!(head ? isOneOf(heads, head) : operation.mayLeave === 'nothing')) {
    throw new Error('G4: the head went back');
  }
  if (isDone && operation.stores === 'share' && !head?.equals(newest)) {
    throw new Error('G2: the command succeeded, and the share does not have the newest state');
  }
  const local = await localState(host);
  if (local && !isOneOf(known, local)) throw new Error('G1: the local state is not whole');
}

function isOneOf(states: readonly Buffer[], state: Buffer): boolean {
  return states.some((known) => known.equals(state));
}

async function localState(host: HostFixture): Promise<Buffer | undefined> {
  const directory = host.tpmDirectory(DOMAIN);
  try {
    return await readFile(join(directory, PERMALL));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const isEmpty = await readdir(directory).then(
    () => true,
    () => false,
  );
  if (isEmpty) throw new Error('G8: an empty TPM directory is left, on which a blank TPM would start');
  return undefined;
}

/** The volume, wherever its share is. */
async function volumeOf(site: Site): Promise<VolumeView> {
  const away = awayOf(site);
  const isAway = (await readdir(away).catch(() => [])).length > 0;
  return new VolumeView(isAway ? away : site.share, DOMAIN);
}

/** What is torn down when a case has ended. */
class Scope implements TestScope {
  readonly #actions: (() => unknown)[] = [];

  teardown(action: () => unknown): void {
    this.#actions.push(action);
  }

  async end(): Promise<void> {
    for (const action of this.#actions.reverse()) await action();
  }
}
