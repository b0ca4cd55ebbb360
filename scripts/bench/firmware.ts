/**
 * firmware: what a VM's firmware variables cost: those of an Arm host, 64 MiB of flash, beside those of a small x86 VM. Of each a change of one
 * variable, and a change of the TPM alone, which has the variables where they were written last.
 *
 * Processor time is that of reading what changed and publishing it, in one process; requests are counted on a simulated NFS server.
 */
import { open, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { referring } from '../../src/agent/share/part-references.js';
import { hostStateFiles } from '../../src/agent/state-files.js';
import { systemClock, systemRandom } from '../../src/host/node-environment.js';
import type { Capture } from '../../src/model/capture.js';
import { parseConfig } from '../../src/model/config.js';
import { parseDomainUuid, type DomainUuid } from '../../src/model/identifiers.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import { hostNamed } from '../../test/fixtures/host-identity.js';
import { holdFor, type HeldVolume } from './captures.js';
import { CountingShare } from './counting-share.js';
import { spread, times } from './figures.js';
import { interleave } from './interleave.js';
import type { Bench, Goal, Measurement, Outcome } from './measurement.js';
import { domainUuid } from './product.js';
import { median } from './statistics.js';
import { TpmState, writeAsSwtpm, writeFirst } from './tpm-state.js';

const KINDS = {
  x86: { title: 'small x86 VM', flashBytes: 540_672, usedBytes: 24_000 },
  arm: { title: 'Arm VM', flashBytes: 64 * 1024 * 1024, usedBytes: 24_000 },
} as const;
type Kind = keyof typeof KINDS;
const ACTS = { tpm: 'the TPM alone', variable: 'one variable' } as const;
type Act = keyof typeof ACTS;
type Case = `${Kind} ${Act}`;
const CASES: readonly Case[] = ['x86 tpm', 'arm tpm', 'x86 variable', 'arm variable'];

const ROUNDS = 40;
const MARGIN = 1.1;
/** Longer than a reading takes to be believed by its times. */
const RESTED_MS = 3_500;
const US_PER_MS = 1000;
const VARIABLE_AT = 4096;

/** A VM that runs on this host, with its volume. */
class Machine {
  readonly #directory: string;
  readonly #tpm: string;
  readonly #nvram: string;
  readonly #state = new TpmState();
  readonly #files: ReturnType<typeof hostStateFiles>;
  readonly #uuid: DomainUuid;
  readonly #gen: string;
  readonly #volume: HeldVolume;
  #variable = 0;

  private constructor({ directory, uuid, files, share }: MachineOptions, volume: HeldVolume) {
    this.#directory = directory;
    this.#uuid = uuid;
    this.#files = files;
    this.#tpm = join(directory, uuid, 'tpm2');
    this.#nvram = join(directory, `${uuid}.fd`);
    this.#gen = join(share, 'volumes', uuid, 'gen');
    this.#volume = volume;
  }

  static async start(options: MachineOptions, kind: Kind): Promise<Machine> {
    const machine = new Machine(options, await holdFor(options.store, options.uuid));
    const { flashBytes, usedBytes } = KINDS[kind];
    const flash = Buffer.alloc(flashBytes, 0xff);
    for (let at = 0; at < usedBytes; at += 4) flash.writeUInt32BE((at * 2_654_435_761) >>> 0, at);
    await mkdir(machine.#directory, { recursive: true });
    await writeFile(machine.#nvram, flash);
    await writeFirst(machine.#tpm, machine.#state.next());
    return machine;
  }

  /** As the guest does. */
  async change(act: Act): Promise<void> {
    if (act === 'tpm') {
      await writeAsSwtpm(this.#tpm, this.#state.next());
      return;
    }
    const file = await open(this.#nvram, 'r+');
    this.#variable += 1;
    await file.write(Buffer.from(`variable ${String(this.#variable)}`), 0, undefined, VARIABLE_AT);
    await file.close();
  }

  read(): Promise<Capture> {
    const place = { uuid: this.#uuid, nvramPath: this.#nvram, nvram: undefined, live: undefined };
    return this.#files.read({ ...place, tpm: undefined }, false);
  }

  /** @returns processor time, ms */
  async mirror(): Promise<number> {
    const before = process.cpuUsage();
    await this.#volume.publish(await this.read());
    const { user, system } = process.cpuUsage(before);
    return (user + system) / US_PER_MS;
  }

  async newestBytes(): Promise<number> {
    const [newest = ''] = (await readdir(this.#gen)).sort().reverse();
    return (await stat(join(this.#gen, newest))).size;
  }
}

interface MachineOptions {
  /** Of the host's own files. */
  readonly directory: string;
  readonly share: string;
  readonly uuid: DomainUuid;
  readonly files: ReturnType<typeof hostStateFiles>;
  readonly store: ReturnType<typeof createLocalShareStore>;
}

interface Found {
  readonly cpuMs: Record<Case, number[]>;
  readonly bytes: Record<Case, number>;
  readonly requests: Record<Case, number>;
}

async function run(bench: Bench): Promise<Outcome> {
  const machines = await start(bench);
  bench.progress('variables come to rest');
  for (const machine of Object.values(machines)) await machine.mirror();
  await sleep(RESTED_MS);
  // This reading finds them rested: from now on their times tell that they did not change.
  for (const machine of Object.values(machines)) await machine.read();
  const trials = record((name) => async (): Promise<number> => {
    const machine = machines[name];
    await machine.change(actOf(name));
    return await machine.mirror();
  });
  const cpuMs = await interleave(trials, bench.quick ? 1 : ROUNDS);
  const bytes = record(() => 0);
  const requests = record(() => 0);
  for (const name of CASES) {
    bytes[name] = await machines[name].newestBytes();
    requests[name] = await requestsOf(machines[name], actOf(name));
  }
  return outcomeOf({ cpuMs, bytes, requests });
}

async function start(bench: Bench): Promise<Record<Case, Machine>> {
  const share = join(bench.directory, 'share');
  const directory = join(bench.directory, 'swtpm');
  await mkdir(share);
  const fs = new NodeFileSystem();
  const ports = { fs, clock: systemClock, random: systemRandom };
  const own = createLocalShareStore({ ...ports, self: hostNamed('kvm-a'), root: share });
  const store = referring(own);
  await store.initialise({});
  bench.scope.teardown(() => store.leave({}));
  const config = parseConfig(`share = "${share}"\n[libvirt]\nswtpm_dir = "${directory}"\n`, {
    hostName: 'kvm-a',
  });
  const files = hostStateFiles({ ...ports, stateDirectory: bench.directory }, config, store);
  const machines = new Map<Case, Machine>();
  for (const [at, name] of CASES.entries()) {
    const uuid = parseDomainUuid(domainUuid(at + 1));
    machines.set(name, await Machine.start({ directory, share, uuid, files, store }, kindOf(name)));
  }
  return record((name) => machineIn(machines, name));
}

function machineIn(machines: ReadonlyMap<Case, Machine>, name: Case): Machine {
  const machine = machines.get(name);
  if (!machine) throw new RangeError(`there is no VM for ${name}`);
  return machine;
}

/** The same publish, after the same generation before it, on a simulated NFS server. */
async function requestsOf(machine: Machine, act: Act): Promise<number> {
  const share = new CountingShare(`firmware ${act}`);
  const store = referring(share.host(1));
  const before = await machine.read();
  await machine.change(act);
  const after = await machine.read();
  const counted = await share.requestsOf(async () => {
    await store.initialise({});
    const volume = await holdFor(store, before.uuid);
    await volume.publish(before);
    share.forget();
    await volume.publish(after);
  });
  return [...counted.values()].reduce((sum, count) => sum + count, 0);
}

function outcomeOf({ cpuMs, bytes, requests }: Found): Outcome {
  const rows = CASES.map((name) => [
    ACTS[actOf(name)],
    KINDS[kindOf(name)].title,
    bytes[name].toLocaleString('en'),
    String(requests[name]),
    spread(cpuMs[name]),
    times(median(cpuMs[name]) / median(cpuMs[`x86 ${actOf(name)}`])),
  ]);
  return {
    table: {
      head: ['what changed', 'of', 'bytes on the share', 'requests', 'processor ms', 'against x86'],
      rows,
    },
    goals: [
      goalOf('bytes on the share', bytes['arm tpm'] / bytes['x86 tpm']),
      goalOf('requests', requests['arm tpm'] / requests['x86 tpm']),
      goalOf('processor time', median(cpuMs['arm tpm']) / median(cpuMs['x86 tpm'])),
    ],
    notes: [
      'A change of the TPM alone leaves the variables where they are; the 64 MiB of an Arm VM are read, hashed and packed when one of them changes.',
    ],
    samples: Object.fromEntries(CASES.map((name) => [`${name}, processor ms`, cpuMs[name]])),
  };
}

function goalOf(what: string, ratio: number): Goal {
  return {
    text: `a change of an Arm VM's TPM, ${what}: at most ${times(MARGIN)} those of a small x86 VM`,
    met: ratio <= MARGIN,
    found: times(ratio),
  };
}

function record<Value>(make: (name: Case) => Value): Record<Case, Value> {
  return {
    'x86 tpm': make('x86 tpm'),
    'arm tpm': make('arm tpm'),
    'x86 variable': make('x86 variable'),
    'arm variable': make('arm variable'),
  };
}

function kindOf(name: Case): Kind {
  return name.startsWith('arm') ? 'arm' : 'x86';
}

function actOf(name: Case): Act {
  return name.endsWith('tpm') ? 'tpm' : 'variable';
}

export const firmware: Measurement = {
  name: 'firmware',
  title: 'The firmware variables of an Arm VM beside those of a small x86 one',
  run,
};
