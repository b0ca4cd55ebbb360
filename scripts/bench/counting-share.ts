/**
 * counting-share: a share on a simulated NFS server that counts the requests that reach it.
 */
import { hostNamed } from '../../test/fixtures/host-identity.js';
import { parseDomainUuid } from '../../src/model/identifiers.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import { volumesPath } from '../../src/volume/share-context.js';
import { CALM } from '../../test/sim/fault-profile.js';
import { asDirectory } from '../../test/sim/path-walk.js';
import { SimulatedWorld } from '../../test/sim/world.js';
import { domainUuid } from './product.js';

const ROOT = '/share';
const CAPACITY_BYTES = 2 ** 40;
const DIRECTORY_MODE = 0o700;

/** How many, by procedure. */
export type Requests = ReadonlyMap<string, number>;

export class CountingShare {
  readonly #world: SimulatedWorld;
  readonly #hosts = new Map<number, ShareService>();
  #counts = new Map<string, number>();

  constructor(seed: string) {
    this.#world = new SimulatedWorld(seed, { faults: CALM, capacityBytes: CAPACITY_BYTES });
    this.#world.nfs.server.onRequest = (_host, name) => {
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    };
  }

  /** The n-th host, with its own mount. */
  host(number: number): ShareService {
    let store = this.#hosts.get(number);
    if (!store) {
      const name = `kvm-${String(number)}`;
      const { share: fs, clock, random } = this.#world.host(name).start();
      store = createLocalShareStore({ fs, root: ROOT, self: hostNamed(name), clock, random });
      this.#hosts.set(number, store);
    }
    return store;
  }

  /** Requests that the work, whoever does it, sends to the server. */
  async requestsOf(work: () => Promise<unknown>): Promise<Requests> {
    this.#counts = new Map();
    await this.#world.outcome(work());
    return this.#counts;
  }

  /** What was counted so far counts no more. */
  forget(): void {
    this.#counts.clear();
  }

  /** Lets time pass, and with it what the clients believe without asking. */
  async pass(ms: number): Promise<void> {
    await this.#world.pass(ms);
  }

  /** Volumes that are there and nothing more: names in the way of everything that lists them. */
  addNames(first: number, count: number): void {
    const { tree } = this.#world.nfs.server;
    const root = asDirectory(tree.find(tree.root, ROOT.slice(1)));
    const volumes = asDirectory(tree.find(root, volumesPath({ root: '' }).slice(1)));
    for (let number = first; number < first + count; number += 1) {
      tree.mkdir(volumes, parseDomainUuid(domainUuid(number)), DIRECTORY_MODE);
    }
    tree.journal.syncAll();
  }
}
