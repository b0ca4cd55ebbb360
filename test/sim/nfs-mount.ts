/**
 * nfs-mount: one host's kernel, as far as it mounts the export: its cache, its open files, and requests in its name. It outlives the
 * processes of its host, and ends with the host's power.
 */
import { ClientCache } from './nfs-cache.js';
import type { VirtualClock } from './clock.js';
import type { DirectoryInode, FileInode, Inode } from './inode.js';
import type { NfsNetwork } from './nfs-network.js';
import { NfsPages } from './nfs-pages.js';
import type { NfsServer, Procedure } from './nfs-server.js';
import type { SeededRandom } from './random.js';

export interface NfsMountOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly network: NfsNetwork;
  readonly server: NfsServer;
  readonly softTimeoutMs: number | undefined;
}

export class NfsMount {
  readonly host: string;
  readonly server: NfsServer;
  readonly random: SeededRandom;
  readonly network: NfsNetwork;
  readonly cache: ClientCache;
  readonly #softTimeoutMs: number | undefined;
  readonly #pages = new Map<Inode, NfsPages>();
  #alive = true;
  #sillyNames = 0;

  constructor(host: string, { clock, random, network, server, softTimeoutMs }: NfsMountOptions) {
    this.host = host;
    this.server = server;
    this.random = random;
    this.network = network;
    this.cache = new ClientCache(clock, random, () => network.faults);
    this.#softTimeoutMs = softTimeoutMs;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get root(): DirectoryInode {
    return this.server.tree.root;
  }

  powerLoss(): void {
    this.#alive = false;
  }

  /** A request of a process, or of the kernel itself, which no kill ends. */
  request<T>(process: { readonly alive: boolean }, procedure: Procedure<T>): Promise<T> {
    const { host } = this;
    return this.network.send({ host, process, kernel: this, softTimeoutMs: this.#softTimeoutMs }, procedure);
  }

  /** Cached content of a file that is open on this host. */
  opened(inode: FileInode): NfsPages {
    let pages = this.#pages.get(inode);
    if (!pages) this.#pages.set(inode, (pages = new NfsPages(this, inode)));
    pages.opens += 1;
    return pages;
  }

  closed(pages: NfsPages): void {
    pages.opens -= 1;
    if (pages.opens > 0) return;
    this.#pages.delete(pages.inode);
    void pages.removeSillyName();
  }

  openPages(inode: Inode | undefined): NfsPages | undefined {
    return inode && this.#pages.get(inode);
  }

  /** A name for a file that is removed while it is open here. */
  sillyName(inode: Inode): string {
    this.#sillyNames += 1;
    return `.nfs${inode.number.toString(16).padStart(16, '0')}${this.#sillyNames.toString(16).padStart(8, '0')}`;
  }
}
