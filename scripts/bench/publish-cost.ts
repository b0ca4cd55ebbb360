/**
 * publish-cost: a publish alone, in the process that works on the share, beside the same system calls in C.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDomainUuid, parseHostName } from '../../src/model/identifiers.js';
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
import type { Bench, Measurement, Outcome } from './measurement.js';
import { LineProgram } from './natives.js';
import { domainUuid } from './product.js';
import { median } from './statistics.js';
import { FULL_BYTES, PERMALL, TpmState, USUAL_BYTES } from './tpm-state.js';

const FLOOR = 'floor: the same system calls in C';
const OURS = 'publish, in the storage process';
const ASKED = 'publish, asked of the storage process by the agent';
const ROUNDS = 100;
const GOAL = 1.5;
const NS_PER_MS = 1e6;

async function run(bench: Bench): Promise<Outcome> {
  const rows: string[][] = [];
  const samples: Record<string, readonly number[]> = {};
  let ratio = 0;
  for (const bytes of [USUAL_BYTES, FULL_BYTES]) {
    const size = `${(bytes / 1000).toFixed(0)} KB`;
    bench.progress(`a state of ${size}`);
    const found = await measure(bench, bytes);
    const floor = median(found[FLOOR]);
    for (const [name, values] of Object.entries(found)) {
      rows.push([size, name, spread(values), times(median(values) / floor)]);
      samples[`${name}, ${size}, ms`] = values;
    }
    if (bytes === USUAL_BYTES) ratio = median(found[OURS]) / floor;
  }
  return {
    table: { head: ['state', 'publish', 'ms', 'against the floor'], rows },
    goals: [{ text: `a publish: at most ${GOAL} × the floor`, met: ratio <= GOAL, found: times(ratio) }],
    notes: [],
    samples,
  };
}

async function measure(
  bench: Bench,
  bytes: number,
): Promise<Record<string, number[]> & Record<typeof FLOOR | typeof OURS, number[]>> {
  const root = join(bench.directory, String(bytes));
  const [gen, log, file] = [join(root, 'gen'), join(root, 'log'), join(root, PERMALL)] as const;
  const share = join(root, 'share');
  for (const directory of [gen, log, share]) await mkdir(directory, { recursive: true });
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
      [OURS]: publishHere,
      [ASKED]: publishThere,
    },
    bench.quick ? 1 : ROUNDS,
  );
}

const HOST = { host: 'kvm-a', machineId: 'machine-a' } as const;

function contextOf(root: string): Parameters<typeof createLocalShareStore>[0] {
  return {
    ...HOST,
    fs: new NodeFileSystem(),
    root,
    host: parseHostName(HOST.host),
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
