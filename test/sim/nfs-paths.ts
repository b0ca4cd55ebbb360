/**
 * nfs-paths: from a path to a request, through what the host's cache believes.
 *
 * I1 After a change has failed, or its process was killed before the reply, its name is unknown, and the next look-up asks.
 * I2 `ESTALE` on the way (a directory that another host removed) is tried once more with an empty cache.
 */
import type { FileStat } from '../../src/model/filesystem.js';
import { errnoOf } from '../../src/model/errors.js';
import { statOf, type Inode } from './inode.js';
import type { InodeTree } from './inode-tree.js';
import type { ChangeInfo } from './nfs-cache.js';
import type { NfsMount } from './nfs-mount.js';
import type { ProcedureName } from './nfs-server.js';
import { walk, type LastLink, type Place } from './path-walk.js';
import type { SimulatedProcess } from './process.js';
import { systemError } from './system-error.js';

export class NfsPaths {
  readonly #mount: NfsMount;
  readonly #process: SimulatedProcess;

  constructor(mount: NfsMount, process: SimulatedProcess) {
    this.#mount = mount;
    this.#process = process;
  }

  /** A request that changes a directory: its name is unknown from here until the caller learns how it went. */
  async change<T>(
    procedure: ProcedureName,
    place: Place,
    detail: string,
    execute: (tree: InodeTree) => T,
  ): Promise<T> {
    const { directory, name } = place;
    this.#mount.cache.forgetName(place);
    const reply = await this.request(procedure, detail + name, (tree) => {
      expectFresh(directory);
      const before = directory.change;
      const value = execute(tree);
      const info: ChangeInfo = { before, after: directory.change };
      return { value, info };
    });
    this.#mount.cache.changed(directory, reply.info);
    return reply.value;
  }

  /** A request on a name that changes nothing, and so tells nothing of the directory's other names. */
  inspect<T>(
    procedure: ProcedureName,
    place: Place,
    detail: string,
    execute: (tree: InodeTree) => T,
  ): Promise<T> {
    this.#mount.cache.forgetName(place);
    return this.request(procedure, detail + place.name, (tree) => {
      expectFresh(place.directory);
      return execute(tree);
    });
  }

  /** @throws `ENOENT`, which may be half a minute old */
  async find(place: Place): Promise<Inode> {
    const inode = await this.lookup(place);
    if (!inode) throw systemError('ENOENT');
    return inode;
  }

  async lookup(place: Place): Promise<Inode | undefined> {
    const known = this.#mount.cache.name(place);
    if (known) return known.inode;
    const { directory, name } = place;
    const { inode, change } = await this.request('LOOKUP', name, (tree) => {
      expectFresh(directory);
      return { inode: tree.lookup(directory, name), change: directory.change };
    });
    this.#mount.cache.looked(place, inode, change);
    return inode;
  }

  async attributes(inode: Inode): Promise<FileStat> {
    await this.#mount.openPages(inode)?.flush();
    const known = this.#mount.cache.attributes(inode);
    if (known) return known;
    const stat = await this.request('GETATTR', `inode ${inode.number}`, () => {
      expectFresh(inode);
      return statOf(inode);
    });
    this.#mount.cache.setAttributes(inode, stat);
    return stat;
  }

  request<T>(name: ProcedureName, detail: string, execute: (tree: InodeTree) => T): Promise<T> {
    return this.#mount.request(this.#process, { name, detail, execute });
  }

  async at<T>(path: string, lastLink: LastLink, act: (place: Place) => Promise<T>): Promise<T> {
    try {
      return await act(await this.#place(path, lastLink));
    } catch (error) {
      if (errnoOf(error) !== 'ESTALE') throw error;
      this.#mount.cache.clear();
      return await act(await this.#place(path, lastLink));
    }
  }

  async #place(path: string, lastLink: LastLink): Promise<Place> {
    const steps = walk(this.#mount.root, path, lastLink);
    let step = steps.next();
    while (!step.done) step = steps.next(await this.lookup(step.value));
    return step.value;
  }
}

/** @throws `ESTALE` when what a handle stands for was removed */
export function expectFresh(inode: Inode): void {
  if (inode.links === 0) throw systemError('ESTALE');
}
