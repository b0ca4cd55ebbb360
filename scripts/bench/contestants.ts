/**
 * contestants: those who bring a changed state file to another directory: swtpm-mirror, the floor, and what people would use instead.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Arrivals } from './arrivals.js';
import type { Bench } from './measurement.js';
import { LineProgram } from './natives.js';
import { domainUuid, Product } from './product.js';
import { PERMALL, TpmState, writeAsSwtpm, writeFirst } from './tpm-state.js';
import { waitUntil } from '../../test/fixtures/wait-until.js';

/** One state file that is mirrored. */
export interface Mirrored {
  /** Changes it as swtpm does. @returns how long it took to arrive, ms */
  change(): Promise<number>;
}

const RSYNC_TELLS_APART_MS = 1100;
const READY_TIMEOUT_MS = 60_000;

/** To the acknowledgement of the agent, which follows the last fsync. */
export async function mirrorWithProduct(bench: Bench): Promise<Mirrored> {
  const uuid = domainUuid(1);
  const product = await Product.create(bench);
  await product.start();
  const directory = product.host.tpmDirectory(uuid);
  const state = new TpmState();
  await writeFirst(directory, state.next());
  await product.call(uuid, 'prepare', { name: 'vm' });
  const started = product.feed.nextPublish(uuid);
  await product.call(uuid, 'started');
  await writeAsSwtpm(directory, state.next());
  await started;
  return {
    change: async () => {
      const published = product.feed.nextPublish(uuid);
      const renamedMs = await writeAsSwtpm(directory, state.next());
      return (await published) - renamedMs;
    },
  };
}

/** To its line on standard output, which follows its last fsync. */
export async function mirrorWithFloor(bench: Bench): Promise<Mirrored> {
  const [source, gen, log] = ['source', 'gen', 'log'].map((name) => join(bench.directory, 'floor', name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [source, gen, log]) await mkdir(directory, { recursive: true });
  const floor = new LineProgram(bench.scope, bench.natives.floor, ['watch', source, PERMALL, gen, log]);
  await floor.next();
  const state = new TpmState();
  return {
    change: async () => {
      const published = floor.next().then(() => performance.now());
      const renamedMs = await writeAsSwtpm(source, state.next());
      return (await published) - renamedMs;
    },
  };
}

/** Where a peer copies from and to, one directory a VM. */
interface Trees {
  readonly source: string;
  readonly target: string;
}

async function makeTrees(bench: Bench, name: string, vms: readonly string[]): Promise<Trees> {
  const root = join(bench.directory, name);
  const trees = { source: join(root, 'source'), target: join(root, 'target') };
  for (const vm of vms) {
    await writeFirst(join(trees.source, vm), new TpmState().next());
    await mkdir(join(trees.target, vm), { recursive: true });
  }
  return trees;
}

/** To the appearance of the file under its name: the peers make no promise about its durability, but for `rsync --fsync`. */
function mirroredVm(bench: Bench, { source, target }: Trees, vm: string): Mirrored {
  const state = new TpmState();
  const arrivals = new Arrivals(bench.scope, join(target, vm), (name) => name === PERMALL);
  return {
    change: async () => {
      await untilRsyncTellsApart(join(source, vm, PERMALL));
      const arrived = arrivals.next();
      const renamedMs = await writeAsSwtpm(join(source, vm), state.next());
      return (await arrived) - renamedMs;
    },
  };
}

/** rsync takes files of one size and of one second for equal, and would never copy the second one. */
async function untilRsyncTellsApart(path: string): Promise<void> {
  const { mtimeMs } = await stat(path);
  const leftMs = mtimeMs + RSYNC_TELLS_APART_MS - Date.now();
  if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
}

/** @param delay of lsyncd, s; its default when `undefined` */
export async function mirrorWithLsyncd(bench: Bench, name: string, delay?: number): Promise<Mirrored> {
  const vm = 'vm';
  const trees = await makeTrees(bench, name, [vm]);
  const config = join(bench.directory, name, 'lsyncd.lua');
  await writeFile(
    config,
    `settings { nodaemon = true, logfile = "/dev/null" }
sync { default.rsync, source = "${trees.source}", target = "${trees.target}"${delay === undefined ? '' : `, delay = ${delay}`} }
`,
  );
  return await startPeer(bench, trees, vm, 'lsyncd', [config]);
}

export async function mirrorWithInotifywait(bench: Bench): Promise<Mirrored> {
  const vm = 'vm';
  const trees = await makeTrees(bench, 'inotifywait', [vm]);
  const copy = `rsync -a --fsync "${trees.source}/" "${trees.target}/"`;
  const loop = `${copy}; inotifywait -q -m -r -e close_write -e moved_to "${trees.source}" | while read -r _; do ${copy}; done`;
  return await startPeer(bench, trees, vm, 'sh', ['-c', loop]);
}

/** Copies everything once a period, whatever has changed. */
export async function mirrorWithPoll(bench: Bench, periodMs: number, vms: number): Promise<Mirrored[]> {
  const names = Array.from({ length: vms }, (_, index) => `vm-${String(index)}`);
  const trees = await makeTrees(bench, 'poll', names);
  const loop = `while :; do rsync -a --fsync "${trees.source}/" "${trees.target}/"; sleep ${periodMs / 1000}; done`;
  runPeer(bench, 'sh', ['-c', loop]);
  return names.map((vm) => mirroredVm(bench, trees, vm));
}

/** Resolves when the peer has shown that it follows changes. */
async function startPeer(
  bench: Bench,
  trees: Trees,
  vm: string,
  program: string,
  args: readonly string[],
): Promise<Mirrored> {
  const state = new TpmState();
  const arrivals = new Arrivals(bench.scope, join(trees.target, vm), (name) => name === PERMALL);
  let arrived = 0;
  const follow = (): void => {
    void arrivals.next().then(() => {
      arrived += 1;
      follow();
    });
  };
  follow();
  runPeer(bench, program, args);
  await waitUntil(`${program} to copy what is there`, READY_TIMEOUT_MS, () =>
    arrived > 0 ? true : undefined,
  );
  const before = arrived;
  await waitUntil(`${program} to follow a change`, READY_TIMEOUT_MS, async () => {
    if (arrived > before) return true;
    await writeAsSwtpm(join(trees.source, vm), state.next());
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return undefined;
  });
  return mirroredVm(bench, trees, vm);
}

/** In a process group of its own, which ends with the scope: what it starts is ended with it. */
function runPeer(bench: Bench, program: string, args: readonly string[]): void {
  const child = spawn(program, args, { stdio: 'ignore', detached: true });
  const gone = once(child, 'exit');
  const kill = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, 'SIGKILL');
    }
  };
  process.once('exit', kill);
  bench.scope.teardown(async () => {
    kill();
    await gone;
  });
}
