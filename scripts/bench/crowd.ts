/**
 * crowd: many domains of one host, and work on all of them, so many at a time as libvirtd has workers.
 */
import { rm } from 'node:fs/promises';
import { LineProgram } from './natives.js';
import type { Bench } from './measurement.js';
import type { Product } from './product.js';
import { TpmState, writeAsSwtpm, writeFirst } from './tpm-state.js';

/** `max_workers` of libvirtd, as it comes: so many starts and stops are under way at once at most. */
export const LIBVIRT_WORKERS = 20;

export class Crowd {
  readonly uuids: readonly string[];
  readonly #product: Product;
  readonly #state = new TpmState();

  constructor(product: Product, uuids: readonly string[]) {
    this.#product = product;
    this.uuids = uuids;
  }

  /** Gives each domain a state that it has run with before. */
  async makeStates(): Promise<void> {
    await this.each((uuid) => writeFirst(this.#directory(uuid), this.#state.next()));
  }

  /** Each domain's TPM changes. */
  async change(): Promise<void> {
    await this.each(async (uuid) => {
      await writeAsSwtpm(this.#directory(uuid), this.#state.next());
    });
  }

  /** As on a host that none of them has run on. */
  async removeStates(): Promise<void> {
    await this.each((uuid) =>
      rm(`${this.#product.host.swtpmDirectory}/${uuid}`, { recursive: true, force: true }),
    );
  }

  async call(verb: string): Promise<void> {
    await this.each((uuid) =>
      this.#product.call(uuid, verb, verb === 'prepare' ? { name: `vm-${uuid}` } : {}),
    );
  }

  /** Starts a process for each domain that looks like its swtpm. */
  async standIn(bench: Bench): Promise<void> {
    const standIns = new LineProgram(bench.scope, bench.natives['stand-ins'], []);
    for (const uuid of this.uuids) await standIns.ask(this.#directory(uuid));
  }

  async each(work: (uuid: string) => Promise<unknown>): Promise<void> {
    const waiting = [...this.uuids];
    const worker = async (): Promise<void> => {
      for (let uuid = waiting.shift(); uuid !== undefined; uuid = waiting.shift()) await work(uuid);
    };
    await Promise.all(Array.from({ length: LIBVIRT_WORKERS }, worker));
  }

  #directory(uuid: string): string {
    return this.#product.host.tpmDirectory(uuid);
  }
}
