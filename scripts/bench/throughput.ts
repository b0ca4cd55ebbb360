/**
 * throughput: how many publishes a second one agent sustains: each domain changes again as soon as its last change is acknowledged.
 */
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { figure } from './figures.js';
import type { Bench, Measurement, Outcome } from './measurement.js';
import { domainUuids, Product } from './product.js';
import { FULL_BYTES, TpmState, USUAL_BYTES, writeAsSwtpm, writeFirst } from './tpm-state.js';

const VOLUMES = [1, 8, 64];
const WINDOW_MS = 5000;
/** Of OVMF's variable store, of which little more than an eighth is ever in use. */
const NVRAM_BYTES = 540_672;
const NVRAM_USED_BYTES = 65_536;
/** QEMU writes it in place, by the block. */
const BLOCK_BYTES = 4096;

/** A kind of state, and how one domain's changes. */
interface Kind {
  readonly name: string;
  /** Makes the domain's files. @returns what `prepare` is told, and what changes them */
  make(product: Product, uuid: string): Promise<Changing>;
}

interface Changing {
  readonly facts: object;
  readonly change: () => Promise<unknown>;
}

const KINDS: readonly Kind[] = [tpmOf('6 KB', USUAL_BYTES), tpmOf('70 KB', FULL_BYTES), nvram()];

async function run(bench: Bench): Promise<Outcome> {
  const rows: string[][] = [];
  const samples: Record<string, number[]> = {};
  const product = await Product.create(bench, { libvirt: { nvram: true } });
  await product.start();
  let made = 0;
  for (const kind of KINDS) {
    const row = [kind.name];
    for (const volumes of bench.quick ? [1, 2] : VOLUMES) {
      bench.progress(`${countOf(volumes)}, ${kind.name}`);
      const perSecond = await measure(bench, product, kind, domainUuids(volumes, made + 1));
      made += volumes;
      row.push(figure(perSecond));
      samples[`${kind.name}, ${countOf(volumes)}, publishes a second`] = [perSecond];
    }
    rows.push(row);
  }
  const head = ['changed', ...(bench.quick ? [1, 2] : VOLUMES).map(countOf)];
  return {
    table: { head, rows },
    goals: [],
    notes: [
      'Publishes a second. Each is read `timing.settle` after the one before, and NVRAM, which QEMU writes in place, when two looks that far apart agree: that, and no more, is the bound of a single volume.',
    ],
    samples,
  };
}

async function measure(
  bench: Bench,
  product: Product,
  kind: Kind,
  uuids: readonly string[],
): Promise<number> {
  let ending = false;
  const feed = product.feed;
  const loops = uuids.map(async (uuid) => {
    const { facts, change } = await kind.make(product, uuid);
    await product.call(uuid, 'prepare', { name: `vm-${uuid}`, ...facts });
    await product.call(uuid, 'started');
    return async () => {
      while (!ending) {
        const published = feed.nextPublish(uuid);
        await change();
        await published;
      }
    };
  });
  const running = (await Promise.all(loops)).map((loop) => loop());
  const windowMs = bench.quick ? 300 : WINDOW_MS;
  await pause(windowMs / 5);
  const [before, beganMs] = [feed.published, performance.now()];
  await pause(windowMs);
  const perSecond = (1000 * (feed.published - before)) / (performance.now() - beganMs);
  ending = true;
  await Promise.all(running);
  await Promise.all(uuids.map((uuid) => product.call(uuid, 'stopped')));
  return perSecond;
}

function countOf(volumes: number): string {
  return `${volumes} volume${volumes === 1 ? '' : 's'}`;
}

function tpmOf(name: string, bytes: number): Kind {
  return {
    name: `TPM of ${name}`,
    make: async ({ host }, uuid) => {
      const [directory, state] = [host.tpmDirectory(uuid), new TpmState(bytes)];
      await writeFirst(directory, state.next());
      return { facts: {}, change: () => writeAsSwtpm(directory, state.next()) };
    },
  };
}

function nvram(): Kind {
  return {
    name: 'TPM of 6 KB, NVRAM of 528 KB',
    make: async ({ host }, uuid) => {
      await writeFirst(host.tpmDirectory(uuid), new TpmState().next());
      const directory = join(host.stateDirectory, '../nvram');
      const nvramPath = join(directory, `${uuid}_VARS.fd`);
      await mkdir(directory, { recursive: true });
      const erased = Buffer.alloc(NVRAM_BYTES - NVRAM_USED_BYTES, 0xff);
      await writeFile(nvramPath, Buffer.concat([randomBytes(NVRAM_USED_BYTES), erased]));
      return { facts: { nvramPath }, change: () => writeBlock(nvramPath) };
    },
  };
}

async function writeBlock(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(randomBytes(BLOCK_BYTES), 0, BLOCK_BYTES, 0);
  await file.close();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export const throughput: Measurement = {
  name: 'throughput',
  title: 'Publishes that one agent sustains',
  run,
};
