/**
 * nfs-client: the `FileSystem` port over a simulated NFS mount, as Linux's client does it.
 *
 * - Look-ups and `lstat` are answered from the host's cache while it is believed (`nfs-cache`), absence too. `open` of a name that is not believed to be
 *   absent asks the server, and `readdir` asks always.
 * - `symlink`, `link`, `mkdir` and the creating opens never trust a cached absence: the server decides. A name that is believed to be there is refused
 *   without asking.
 * - A file that is removed or replaced by its own host while open there gets a `.nfs…` name until it is closed.
 */
import type {
  FileStat,
  FileSystem,
  FileSystemSpace,
  OpenFile,
  OpenMode,
} from '../../src/model/filesystem.js';
import { statOf, targetOf, type Inode } from './inode.js';
import type { InodeTree } from './inode-tree.js';
import { NfsOpenFile } from './nfs-file.js';
import type { NfsMount } from './nfs-mount.js';
import { expectFresh, NfsPaths } from './nfs-paths.js';
import type { ProcedureName } from './nfs-server.js';
import { asDirectory, type LastLink, type Place } from './path-walk.js';
import type { SimulatedProcess } from './process.js';
import { systemError } from './system-error.js';

export class NfsClient implements FileSystem {
  readonly #mount: NfsMount;
  readonly #process: SimulatedProcess;
  readonly #paths: NfsPaths;

  constructor(mount: NfsMount, process: SimulatedProcess) {
    this.#mount = mount;
    this.#process = process;
    this.#paths = new NfsPaths(mount, process);
  }

  open(_site: string, path: string, mode: OpenMode, permissions = 0o600): Promise<OpenFile> {
    return this.#paths.at(path, 'keep', async (place) => {
      const known = this.#mount.cache.name(place);
      if (mode === 'read' && known && !known.inode) throw systemError('ENOENT');
      if (mode === 'create-exclusive' && known?.inode) throw systemError('EEXIST');
      const open = (tree: InodeTree): OpenReply => openOnServer(tree, place, mode, permissions);
      const { inode, stat } = await (mode === 'read'
        ? this.#paths.inspect('OPEN', place, 'read ', open)
        : this.#paths.change('OPEN', place, `${mode} `, open));
      if (inode.kind === 'symlink') throw systemError('ELOOP');
      this.#mount.cache.setName(place, inode);
      this.#mount.cache.setAttributes(inode, stat);
      return new NfsOpenFile(this.#mount, this.#process, inode, mode !== 'read');
    });
  }

  readdir(_site: string, path: string): Promise<string[]> {
    return this.#paths.at(path, 'follow', async (place) => {
      const directory = asDirectory(await this.#paths.lookup(place));
      const { names, change } = await this.#paths.request('READDIR', place.name, () => {
        expectFresh(directory);
        return { names: [...directory.entries.keys()], change: directory.change };
      });
      this.#mount.cache.listed(directory, change);
      return names;
    });
  }

  lstat(_site: string, path: string): Promise<FileStat> {
    return this.#paths.at(path, 'keep', async (place) =>
      this.#paths.attributes(await this.#paths.find(place)),
    );
  }

  readlink(_site: string, path: string): Promise<string> {
    return this.#paths.at(path, 'keep', async (place) => {
      const inode = await this.#paths.find(place);
      const target = targetOf(inode);
      // A link's target is cached like an attribute: while it is believed nobody is asked.
      await this.#paths.attributes(inode);
      return target;
    });
  }

  symlink(_site: string, target: string, path: string): Promise<void> {
    return this.#make('SYMLINK', path, `-> ${target} at `, (tree, { directory, name }) =>
      tree.symlink(directory, name, target),
    );
  }

  mkdir(_site: string, path: string, permissions: number): Promise<void> {
    return this.#make('MKDIR', path, '', (tree, { directory, name }) =>
      tree.mkdir(directory, name, permissions),
    );
  }

  link(_site: string, existing: string, path: string): Promise<void> {
    return this.#paths.at(existing, 'keep', async (source) => {
      const inode = await this.#paths.find(source);
      await this.#make('LINK', path, `${source.name} to `, (tree, { directory, name }) => {
        if (inode.links === 0) throw systemError('ESTALE');
        tree.link(inode, directory, name);
        return inode;
      });
    });
  }

  rename(_site: string, from: string, to: string): Promise<void> {
    return this.#paths.at(from, 'keep', (source) =>
      this.#paths.at(to, 'keep', async (target) => {
        const { cache } = this.#mount;
        const known = cache.name(source);
        if (known && !known.inode) throw systemError('ENOENT');
        if (cache.lastKnown(source) !== cache.lastKnown(target)) await this.#setAside(target);
        const moved = await this.#rename(source, target);
        cache.setName(source, undefined);
        cache.setName(target, moved);
      }),
    );
  }

  unlink(_site: string, path: string): Promise<void> {
    return this.#paths.at(path, 'keep', async (place) => {
      const known = this.#mount.cache.name(place);
      if (known && !known.inode) throw systemError('ENOENT');
      if (await this.#setAside(place)) return;
      await this.#paths.change('REMOVE', place, '', (tree) => {
        tree.unlink(place.directory, place.name);
      });
      this.#mount.cache.setName(place, undefined);
    });
  }

  rmdir(_site: string, path: string): Promise<void> {
    return this.#paths.at(path, 'keep', async (place) => {
      await this.#paths.change('REMOVE', place, 'directory ', (tree) => {
        tree.rmdir(place.directory, place.name);
      });
      this.#mount.cache.setName(place, undefined);
    });
  }

  chmod(_site: string, path: string, permissions: number): Promise<void> {
    return this.#setAttributes(path, 'follow', { mode: permissions });
  }

  chown(_site: string, path: string, uid: number, gid: number): Promise<void> {
    return this.#setAttributes(path, 'keep', { uid, gid });
  }

  /** Directory operations are durable when they return, so there is nothing to ask of the server. */
  syncDirectory(_site: string, path: string): Promise<void> {
    return this.#paths.at(path, 'follow', async (place) => {
      asDirectory(await this.#paths.lookup(place));
    });
  }

  statfs(_site: string, path: string): Promise<FileSystemSpace> {
    return this.#paths.at(path, 'follow', async (place) => {
      await this.#paths.find(place);
      return this.#paths.request('STATFS', '', (tree) => ({
        ...tree.space(),
        kind: this.#mount.server.kind,
        mountOptions: [],
      }));
    });
  }

  #setAttributes(
    path: string,
    lastLink: LastLink,
    attributes: Parameters<InodeTree['setAttributes']>[1],
  ): Promise<void> {
    return this.#paths.at(path, lastLink, async (place) => {
      const inode = await this.#paths.find(place);
      const stat = await this.#paths.request('SETATTR', place.name, (tree) => {
        expectFresh(inode);
        tree.setAttributes(inode, attributes);
        return statOf(inode);
      });
      this.#mount.cache.setAttributes(inode, stat);
    });
  }

  async #make(
    procedure: ProcedureName,
    path: string,
    detail: string,
    make: (tree: InodeTree, place: Place) => Inode,
  ): Promise<void> {
    await this.#paths.at(path, 'keep', async (place) => {
      if (this.#mount.cache.name(place)?.inode) throw systemError('EEXIST');
      const made = await this.#paths.change(procedure, place, detail, (tree) => make(tree, place));
      this.#mount.cache.setName(place, made);
    });
  }

  /** Gives a file that this host has open another name, instead of removing or replacing it under its own. */
  async #setAside(place: Place): Promise<boolean> {
    const inode = this.#mount.cache.lastKnown(place);
    const pages = this.#mount.openPages(inode);
    if (!inode || !pages || pages.sillyPlace) return false;
    const aside = { directory: place.directory, name: this.#mount.sillyName(inode) };
    await this.#rename(place, aside);
    pages.sillyPlace = aside;
    this.#mount.cache.setName(place, undefined);
    return true;
  }

  #rename(source: Place, target: Place): Promise<Inode> {
    const { cache } = this.#mount;
    cache.forgetName(target);
    return this.#paths.change('RENAME', source, `to ${target.name}: `, (tree) => {
      expectFresh(target.directory);
      return tree.rename(source.directory, source.name, target.directory, target.name);
    });
  }
}

interface OpenReply {
  readonly inode: Inode;
  readonly stat: FileStat;
}

function openOnServer(
  tree: InodeTree,
  { directory, name }: Place,
  mode: OpenMode,
  permissions: number,
): OpenReply {
  if (mode === 'read') {
    const inode = tree.find(directory, name);
    return { inode, stat: statOf(inode) };
  }
  const file = tree.create(directory, name, permissions, mode === 'create-exclusive');
  if (mode === 'create') tree.truncate(file);
  return { inode: file, stat: statOf(file) };
}
