/**
 * node-directories: directories held open, so that a name in one of them is reached through its
 * descriptor and never by a longer path.
 *
 * Node has no `openat`, but `/proc/self/fd/<fd>/<name>` is resolved from an open directory. Each
 * directory of a path is opened in the one above it with `O_PATH | O_DIRECTORY | O_NOFOLLOW`, from
 * `/` downwards; the call itself then names one component alone.
 *
 * I1 A symbolic link among a path's directories is followed only where nobody but root, or the
 *    user of this process, can have put it: each directory from `/` down to the link belongs to one
 *    of the two, is writable by nobody else, and lies on a file system of this host alone, since
 *    modes prove nothing where other hosts write. Below `linkFree.root` none is, whoever made it.
 * I2 A descriptor is used again for `LEASE_MS` at most, and only while the kernel finds its directory
 *    where it was opened (`readlink` of `/proc/self/fd/<fd>`): what was renamed or removed by anybody
 *    on this host is opened anew. What another host does to a share shows when the lease ends. So a
 *    call reaches a directory that a path named up to `LEASE_MS` ago, as one does that the network
 *    holds up for so long; rules of the protocol bear that for any length of time, and the
 *    client's own cache of names is older.
 * Where root alone can change a name on the way, one open does for all of it, and the kernel's word
 * where it led (`/proc/self/fd/<fd>` again) shows that no link was on it. Elsewhere that word would do
 * as well, but a link could lead through a file system that hangs.
 *
 * I3 Descriptors are bounded: `OPEN_MAX` idle ones, none of them older than its lease.
 * Not guaranteed: that a directory stays where it is during a call. What happens then happens to
 *    that very directory, wherever somebody who may rename it has put it.
 */
import * as fs from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { PathRefusal } from '../model/filesystem.js';
import { descriptorPath, lstatAt, openFile, readlinkAt, statOf } from './node-calls.js';
import { isOnThisHost } from './local-file-systems.js';

const { O_DIRECTORY, O_NOFOLLOW } = fs.constants;
/** Linux's own number; Node has no name for it. */
export const O_PATH = 0o10000000;

const LEASE_MS = 250;
const OPEN_MAX = 256;
/** As many as Linux itself follows in one path. */
const LINKS_MAX = 40;
/** For how long a directory counts as root's alone, or not; what a link does on the way shows in any case. */
const OURS_MS = 60_000;
const OURS_MAX = 1024;
const WRITABLE_BY_OTHERS = 0o022n;
const STICKY = 0o1000n;

export interface DirectoriesOptions {
  /** Below this directory no link is followed, whoever made it; one is told with this code. */
  readonly linkFree?: { readonly root: string; readonly refusal: PathRefusal } | undefined;
}

interface OpenDirectory {
  readonly descriptor: number;
  /** Where the kernel found it when it was opened; `undefined`: it is used once. */
  readonly place: string | undefined;
  readonly openedMs: number;
  /** By which it is known; more than one where a link was followed. */
  readonly paths: Set<string>;
  users: number;
  isKnown: boolean;
  isClosed: boolean;
}

/** Names in an open directory. */
export interface DirectoryHandle {
  /** The directory's path, as it was asked for. */
  readonly path: string;
  readonly descriptor: number;
  /** What a system call is given for the directory itself. */
  readonly self: string;
  /** What a system call is given for a name in it. */
  at(name: string): string;
}

export class NodeDirectories {
  readonly #linkFree: DirectoriesOptions['linkFree'];
  readonly #known = new Map<string, OpenDirectory>();
  readonly #opening = new Map<string, Promise<OpenDirectory>>();
  /** By directory: whether root alone can change names in it and above it, and until when that holds. */
  readonly #ours = new Map<string, { readonly isOurs: boolean; readonly endMs: number }>();
  #sweeping = false;

  constructor({ linkFree }: DirectoriesOptions = {}) {
    this.#linkFree = linkFree && { ...linkFree, root: resolve(linkFree.root) };
  }

  /**
   * Runs `work` with a directory held open.
   *
   * Where a server has forgotten the directory (`ESTALE`), it is opened anew and `work` runs once
   * more, as the kernel does for a path.
   *
   * @throws MirrorError `SHARE_TAMPERED`, `HOST_TAMPERED` when a link stands on the way that is not
   *   followed; NodeJS.ErrnoException, with the path that was asked for
   */
  async use<T>(path: string, work: (directory: DirectoryHandle) => Promise<T>): Promise<T> {
    const whole = resolve(path);
    try {
      return await this.#useOnce(whole, work);
    } catch (error) {
      if (errnoOf(error) !== 'ESTALE') throw error;
      for (const open of new Set(this.#known.values())) this.#forget(open);
      return await this.#useOnce(whole, work);
    }
  }

  async #useOnce<T>(path: string, work: (directory: DirectoryHandle) => Promise<T>): Promise<T> {
    const open = await this.#acquire(path, 0);
    try {
      return await work(handleOf(open, path));
    } catch (error) {
      throw named(error, open, path);
    } finally {
      this.#release(open);
    }
  }

  /** For what stands where something else belongs: where, and what the operator does. */
  refusal(path: string, found: string): MirrorError {
    const whole = resolve(path);
    return new MirrorError(
      (this.#isLinkFree(whole) ? this.#linkFree?.refusal : undefined) ?? 'HOST_TAMPERED',
      `refused to go through ${whole}: ${found}`,
      {
        next: `look who put it there (\`ls -ld ${whole}\`) and who can write to ${dirname(whole)}, and move it out of the way`,
      },
    );
  }

  #isLinkFree(path: string): boolean {
    return this.#linkFree !== undefined && path.startsWith(`${this.#linkFree.root}/`);
  }

  /** @param links followed so far on the way to this path */
  async #acquire(path: string, links: number): Promise<OpenDirectory> {
    for (;;) {
      const known = this.#known.get(path);
      if (known && this.#isFresh(known)) {
        known.users++;
        return known;
      }
      if (known) this.#forget(known);
      const open = await this.#openOnce(path, links);
      if (open.isClosed) continue;
      open.users++;
      return open;
    }
  }

  /** Callers at the same time share an opening; on the way through a link none is waited for, so that a circle of links ends. */
  async #openOnce(path: string, links: number): Promise<OpenDirectory> {
    if (links > 0) return await this.#open(path, links);
    const under = this.#opening.get(path);
    if (under) return await under;
    const opening = this.#open(path, links).finally(() => this.#opening.delete(path));
    this.#opening.set(path, opening);
    return await opening;
  }

  async #open(path: string, links: number): Promise<OpenDirectory> {
    if (path === '/') return this.#keep(path, await this.#openAt('/', O_DIRECTORY));
    const direct = await this.#openAtOnce(path);
    if (direct) return direct;
    const above = await this.#acquire(dirname(path), links);
    try {
      if (!this.#isLinkFree(path)) await this.#learn(dirname(path), above);
      const at = `${descriptorPath(above.descriptor)}/${basename(path)}`;
      try {
        return this.#keep(path, await this.#openAt(at, O_DIRECTORY));
      } catch (error) {
        // A file, or a link: the kernel says the same of both.
        if (errnoOf(error) !== 'ENOTDIR') throw error;
        const descriptor = await this.#openAt(at);
        const stat = await statOf(descriptor);
        // By now it is one.
        if (stat.isDirectory()) return this.#keep(path, descriptor);
        fs.closeSync(descriptor);
        if (!stat.isSymbolicLink()) throw error;
        return await this.#follow(path, above, at, links);
      }
    } catch (error) {
      throw named(error, above, dirname(path));
    } finally {
      this.#release(above);
    }
  }

  /** @returns `undefined` when it must be walked to */
  async #openAtOnce(path: string): Promise<OpenDirectory | undefined> {
    if (!this.#isOursAlone(dirname(path))) return undefined;
    const descriptor = await this.#openAt(path, O_DIRECTORY).catch(() => undefined);
    if (descriptor === undefined) return undefined;
    if (placeOf(descriptor) === path) return this.#keep(path, descriptor);
    fs.closeSync(descriptor);
    return undefined;
  }

  #isOursAlone(directory: string): boolean {
    const known = this.#ours.get(directory);
    return known !== undefined && known.isOurs && performance.now() < known.endMs;
  }

  async #learn(directory: string, { descriptor, place }: OpenDirectory): Promise<void> {
    const now = performance.now();
    if (now < (this.#ours.get(directory)?.endMs ?? 0)) return;
    const isBelowOurs = directory === '/' || this.#isOursAlone(dirname(directory));
    let isOurs = false;
    // Asked first, for it costs no request where a server would have to answer the rest.
    if (isBelowOurs && place === directory && (await isOnThisHost(descriptor))) {
      const { uid, mode } = await statOf(descriptor);
      isOurs = isOwn(uid) && (mode & WRITABLE_BY_OTHERS) === 0n;
    }
    if (this.#ours.size >= OURS_MAX) this.#ours.clear();
    this.#ours.set(directory, { isOurs, endMs: now + OURS_MS });
  }

  async #openAt(at: string, directory = 0): Promise<number> {
    const flags = O_PATH | O_NOFOLLOW | directory;
    try {
      return await openFile(at, flags);
    } catch (error) {
      if (!['EMFILE', 'ENFILE'].includes(errnoOf(error) ?? '') || !this.#closeIdle(0)) throw error;
      return await openFile(at, flags);
    }
  }

  /** I1. */
  async #follow(path: string, above: OpenDirectory, at: string, links: number): Promise<OpenDirectory> {
    const target = await readlinkAt(at).catch((error: unknown) => {
      if (errnoOf(error) !== 'EINVAL') throw error;
      throw this.refusal(path, 'it was a symbolic link a moment ago');
    });
    const found = `it is a symbolic link to ${target}`;
    if (this.#isLinkFree(path)) throw this.refusal(path, `${found}, and none is followed here`);
    if (above.place === undefined || !(await this.#isOurs(above.place, at))) {
      throw this.refusal(path, `${found}, which others than root can have put there`);
    }
    if (links >= LINKS_MAX) throw this.refusal(path, `${found}, the last of ${LINKS_MAX} in a row`);
    const whole = isAbsolute(target) ? resolve(target) : join(above.place, target);
    const open = await this.#acquire(whole, links + 1);
    this.#release(open);
    if (!open.isClosed && open.isKnown) {
      this.#known.set(path, open);
      open.paths.add(path);
    }
    return open;
  }

  /** Whether none but root and this user can have changed names from `/` down to the link `at` in `place`. */
  async #isOurs(place: string, at: string): Promise<boolean> {
    let inner = await lstatAt(at);
    for (let path = place; ; path = dirname(path)) {
      const open = await this.#acquire(path, LINKS_MAX);
      try {
        if (open.place !== path || !(await isOnThisHost(open.descriptor))) return false;
        const stat = await statOf(open.descriptor);
        const isShared = (stat.mode & WRITABLE_BY_OTHERS) !== 0n;
        // In a sticky directory others can neither rename nor remove what is not theirs.
        const isSticky = (stat.mode & STICKY) !== 0n && isOwn(inner.uid);
        if (!isOwn(stat.uid) || (isShared && !isSticky)) return false;
        inner = stat;
      } finally {
        this.#release(open);
      }
      if (path === '/') return true;
    }
  }

  #keep(path: string, descriptor: number): OpenDirectory {
    const place = placeOf(descriptor);
    if (path === '/' && place !== '/') {
      fs.closeSync(descriptor);
      throw withoutProc();
    }
    const open: OpenDirectory = {
      descriptor,
      place,
      openedMs: performance.now(),
      paths: new Set([path]),
      users: 0,
      isKnown: true,
      isClosed: false,
    };
    const before = this.#known.get(path);
    if (before) this.#forget(before);
    if (this.#known.size >= OPEN_MAX) this.#closeIdle(OPEN_MAX / 2);
    this.#known.set(path, open);
    this.#sweepLater();
    return open;
  }

  #isFresh(open: OpenDirectory): boolean {
    return (
      open.place !== undefined &&
      performance.now() - open.openedMs < LEASE_MS &&
      placeOf(open.descriptor) === open.place
    );
  }

  #forget(open: OpenDirectory): void {
    open.isKnown = false;
    for (const path of open.paths) {
      if (this.#known.get(path) === open) this.#known.delete(path);
    }
    if (open.users === 0) close(open);
  }

  #release(open: OpenDirectory): void {
    open.users--;
    if (open.users === 0 && !open.isKnown) close(open);
  }

  /** Oldest first, until no more than `most` are known. @returns whether any was closed */
  #closeIdle(most: number): boolean {
    let closed = false;
    for (const open of new Set(this.#known.values())) {
      if (this.#known.size <= most) break;
      if (open.users > 0) continue;
      this.#forget(open);
      closed = true;
    }
    return closed;
  }

  /** An idle process holds nothing open, so that a share can be unmounted, and another mounted in its place. */
  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    const timer = setTimeout(() => {
      this.#sweeping = false;
      const endMs = performance.now() - LEASE_MS;
      for (const open of new Set(this.#known.values())) {
        if (open.openedMs <= endMs) this.#forget(open);
      }
      if (this.#known.size > 0) this.#sweepLater();
    }, LEASE_MS);
    timer.unref();
  }
}

function handleOf({ descriptor }: OpenDirectory, path: string): DirectoryHandle {
  const self = descriptorPath(descriptor);
  return { path, descriptor, self, at: (name) => `${self}/${name}` };
}

/** Where the kernel finds an open directory now; one that was removed is found nowhere. */
function placeOf(descriptor: number): string | undefined {
  try {
    return fs.readlinkSync(descriptorPath(descriptor));
  } catch {
    // Longer than what /proc tells: it is opened for each call.
    return undefined;
  }
}

function close(open: OpenDirectory): void {
  if (open.isClosed) return;
  open.isClosed = true;
  fs.closeSync(open.descriptor);
}

function isOwn(uid: bigint): boolean {
  return uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
}

/** A system error names the path that was asked for, not the descriptor that it was reached through. */
function named(error: unknown, { descriptor }: OpenDirectory, path: string): unknown {
  if (!(error instanceof Error)) return error;
  const [from, to] = [`${descriptorPath(descriptor)}/`, path === '/' ? path : `${path}/`];
  const rename = (text: string): string =>
    text.replaceAll(from, to).replaceAll(`${descriptorPath(descriptor)}'`, `${path}'`);
  error.message = rename(error.message);
  if (error.stack !== undefined) error.stack = rename(error.stack);
  const paths: NodeJS.ErrnoException & { dest?: unknown } = error;
  for (const key of ['path', 'dest'] as const) {
    const value = paths[key];
    if (typeof value === 'string') paths[key] = rename(`${value}'`).slice(0, -1);
  }
  return error;
}

function withoutProc(): MirrorError {
  return new MirrorError('HOST_IO', 'cannot reach any file: /proc does not show this process', {
    next: 'mount /proc where swtpm-mirror runs; paths are resolved through /proc/self/fd',
  });
}
