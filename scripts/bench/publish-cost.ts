/**
 * publish-cost: a publish alone, in the process that works on the share, beside the same system calls in C.
 */
import { hostNamed } from '../../test/fixtures/host-identity.js';
import { mkdir, open, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDomainUuid } from '../../src/model/identifiers.js';
import { systemClock, systemRandom } from '../../src/host/node-environment.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { nodeFork } from '../../src/storage/node-fork.js';
import { StorageClient } from '../../src/storage/storage-client.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { ShareStore } from '../../src/volume/share-store.js';
import { builtProgram } from '../../test/fixtures/program.js';
import { hold } from './captures.js';
import { spread, times } from './figures.js';
import { interleave, timed } from './interleave.js';
import type { Bench, Goal, Measurement, Outcome } from './measurement.js';
import { LineProgram } from './natives.js';
import { domainUuid } from './product.js';
import { median } from './statistics.js';
import { FULL_BYTES, PERMALL, TpmState, USUAL_BYTES } from './tpm-state.js';

const FLOOR = 'floor: the same system calls in C';
const IN_NODE = 'the same system calls in Node, and nothing else';
const OURS = 'publish, in the storage process';
const ASKED = 'publish, asked of the storage process by the agent';
const ROUNDS = 100;
const GOAL = 1.5;
const NS_PER_MS = 1e6;

async function run(bench: Bench): Promise<Outcome> {
  const rows: string[][] = [];
  const samples: Record<string, readonly number[]> = {};
  let judged: Found | undefined;
  for (const bytes of [USUAL_BYTES, FULL_BYTES]) {
    const size = `${(bytes / 1000).toFixed(0)} KB`;
    bench.progress(`a state of ${size}`);
    const found = await measure(bench, bytes);
    const floor = median(found[FLOOR]);
    for (const [name, values] of Object.entries(found)) {
      rows.push([size, name, spread(values), times(median(values) / floor)]);
      samples[`${name}, ${size}, ms`] = values;
    }
    if (bytes === USUAL_BYTES) judged = found;
  }
  return {
    table: { head: ['state', 'publish', 'ms', 'against the floor'], rows },
    goals: judged ? [goalOf(judged)] : [],
    notes: judged ? [whatItIs(judged)] : [],
    samples,
  };
}

function goalOf(found: Found): Goal {
  const ratio = median(found[OURS]) / median(found[FLOOR]);
  return { text: `a publish: at most ${GOAL} × the floor`, met: ratio <= GOAL, found: times(ratio) };
}

/** Where the time above the floor goes. */
function whatItIs(found: Found): string {
  const [floor, node, ours] = [FLOOR, IN_NODE, OURS].map((name) => median(found[name as keyof Found])) as [
    number,
    number,
    number,
  ];
  const part = (ms: number): string => `${((100 * ms) / (ours - floor)).toFixed(0)} %`;
  return `Of what a publish of 6 KB takes above the floor, ${part(node - floor)} is Node's way to the same system calls, each through a thread and back; ${part(ours - node)} is the archive (hash, tar, gzip) and what the protocol looks at besides: the share's marker, and its own claim before and after.`;
}

type Found = Record<typeof FLOOR | typeof IN_NODE | typeof OURS | typeof ASKED, number[]>;

async function measure(bench: Bench, bytes: number): Promise<Found> {
  const root = join(bench.directory, String(bytes));
  const [gen, log, file] = [join(root, 'gen'), join(root, 'log'), join(root, PERMALL)] as const;
  const share = join(root, 'share');
  const inNodes = [join(root, 'node', 'gen'), join(root, 'node', 'log')];
  for (const directory of [gen, log, share, ...inNodes]) await mkdir(directory, { recursive: true });
  const floor = new LineProgram(bench.scope, bench.natives.floor, ['serve', gen, log]);
  await floor.next();
  const state = new TpmState(bytes);
  const own = createLocalShareStore(contextOf(share));
  await own.initialise({});
  bench.scope.teardown(() => own.leave({}));
  const client = await openClient(bench, share);
  const publishHere = await publisher(own, state, 1);
  const publishThere = await publisher(client, state, 2);
  return await interleave(
    {
      [FLOOR]: async () => {
        await writeFile(file, state.next());
        const [, tookNs] = (await floor.ask(file)).split(' ');
        return Number(tookNs) / NS_PER_MS;
      },
      [IN_NODE]: inNode(join(root, 'node'), state),
      [OURS]: publishHere,
      [ASKED]: publishThere,
    },
    bench.quick ? 1 : ROUNDS,
  );
}

/** What the C program does after the reading of the state. */
function inNode(root: string, state: TpmState): () => Promise<number> {
  let slot = 0;
  return async () => {
    const data = state.next();
    slot += 1;
    const temporary = join(root, 'gen', `.tmp-${slot}`);
    return await timed(async () => {
      const file = await open(temporary, 'wx', 0o600);
      await file.write(data);
      await file.sync();
      await file.close();
      await rename(temporary, join(root, 'gen', String(slot)));
      await syncDirectory(join(root, 'gen'));
      await symlink(`../gen/${slot}`, join(root, 'log', String(slot)));
      await syncDirectory(join(root, 'log'));
    });
  };
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  await directory.sync();
  await directory.close();
}

const HOST = { self: hostNamed('kvm-a') } as const;

function contextOf(root: string): Parameters<typeof createLocalShareStore>[0] {
  return {
    ...HOST,
    fs: new NodeFileSystem(),
    root,
    clock: systemClock,
    random: systemRandom,
  };
}

async function openClient(bench: Bench, root: string): Promise<StorageClient> {
  const parameters = { ...HOST, root, uid: 0, gid: 0 };
  const client = new StorageClient({
    fork: nodeFork({ program: await builtProgram(), parameters }),
    clock: systemClock,
    deadlineMs: 10_000,
  });
  bench.scope.teardown(() => client.close());
  return client;
}

/** Claims a volume, and publishes to it again and again. */
async function publisher(store: ShareStore, state: TpmState, domain: number): Promise<() => Promise<number>> {
  const held = await hold(store, parseDomainUuid(domainUuid(domain)), 'start');
  return () => {
    const data = state.next();
    return timed(() => held.publish(data));
  };
}

export const publishCost: Measurement = {
  name: 'publish-cost',
  title: 'A publish alone, beside the same system calls in C',
  run,
};
