/**
 * nfs-pages: what a host has written to an open file and not yet sent: NFS's write-back cache.
 *
 * A small write goes out as one stable WRITE; a larger one as unstable WRITEs and a COMMIT, all over again when the server restarted in between.
 *
 * I1 Data belongs to the kernel: it is sent although the process that wrote it was killed.
 * I2 A failure drops the data, is told once at the next fsync or close, and is then forgotten: the fsync after it succeeds.
 */
import { overwritten, statOf, type FileInode } from './inode.js';
import type { NfsMount } from './nfs-mount.js';
import type { Place } from './path-walk.js';
import { systemError } from './system-error.js';

/** `wsize`: small here, so that ordinary states take more than one request. */
const WRITE_BYTES_MAX = 16 * 1024;

interface Piece {
  readonly data: Uint8Array;
  readonly position: number;
}

export class NfsPages {
  readonly inode: FileInode;
  opens = 0;
  /** Where the file went when its last name was removed on this host while it was open. */
  sillyPlace: Place | undefined;
  readonly #mount: NfsMount;
  readonly #dirty: Piece[] = [];
  #error: unknown;
  #flushing: Promise<void> = Promise.resolve();

  constructor(mount: NfsMount, inode: FileInode) {
    this.#mount = mount;
    this.inode = inode;
  }

  write(data: Uint8Array, position: number): void {
    this.#dirty.push({ data: data.slice(), position });
    if (this.#mount.random.chance(this.#mount.network.faults.earlyWriteback)) void this.flush();
  }

  /** The server's content as this host sees it. */
  overlay(content: Uint8Array): Uint8Array {
    return this.#dirty.reduce((seen, { data, position }) => overwritten(seen, data, position), content);
  }

  /** Resolves when what was written before is on the server, or has failed; see `takeError`. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flushOnce());
    return this.#flushing;
  }

  /** @throws the failure of a flush that nobody was told of */
  takeError(): void {
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error as Error;
  }

  async removeSillyName(): Promise<void> {
    const place = this.sillyPlace;
    if (!place) return;
    const detail = `${place.name} (closed at last)`;
    await this.#mount
      .request(this.#mount, {
        name: 'REMOVE',
        detail,
        execute: (tree) => {
          tree.unlink(place.directory, place.name);
        },
      })
      // Gone already: its directory was removed, or another execution of this request was first.
      .catch(() => undefined);
  }

  async #flushOnce(): Promise<void> {
    const pieces = this.#dirty.slice();
    if (pieces.length === 0) return;
    const chunks = joined(pieces).flatMap(split);
    try {
      let kept = false;
      while (!kept) kept = await this.#send(chunks);
    } catch (error) {
      this.#error ??= error;
    }
    const later = this.#dirty.slice(pieces.length);
    this.#dirty.splice(0, this.#dirty.length, ...later);
  }

  /** False when the server restarted between a WRITE and its COMMIT, so that it may have lost the data. */
  async #send(chunks: readonly Piece[]): Promise<boolean> {
    const [only] = chunks;
    if (only && chunks.length === 1) {
      await this.#writeChunk(only, true);
      return true;
    }
    // Side by side, as the real client does: a later part may be there while an earlier one is not.
    const boots = new Set(await Promise.all(chunks.map((chunk) => this.#writeChunk(chunk, false))));
    boots.add(await this.#commit());
    return boots.size === 1;
  }

  async #writeChunk({ data, position }: Piece, stable: boolean): Promise<number> {
    const { inode } = this;
    const { server, random, network } = this.#mount;
    const reply = await this.#mount.request(this.#mount, {
      name: 'WRITE',
      detail: `inode ${inode.number}, ${data.length} bytes at ${position}${stable ? ', stable' : ''}`,
      execute: (tree) => {
        if (inode.links === 0) throw systemError('ESTALE');
        if (random.chance(network.faults.writeFails)) {
          throw systemError(random.pick(['EIO', 'ENOSPC', 'EDQUOT']));
        }
        const written = tree.write(inode, data, position);
        if (written < data.length) throw systemError('ENOSPC');
        if (stable) server.commit(inode);
        return { boot: server.boot, stat: statOf(inode) };
      },
    });
    this.#mount.cache.setAttributes(inode, reply.stat);
    return reply.boot;
  }

  #commit(): Promise<number> {
    const { inode } = this;
    const { server } = this.#mount;
    return this.#mount.request(this.#mount, {
      name: 'COMMIT',
      detail: `inode ${inode.number}`,
      execute: () => {
        if (inode.links === 0) throw systemError('ESTALE');
        server.commit(inode);
        return server.boot;
      },
    });
  }
}

/** Pieces that follow one another as one. */
function joined(pieces: readonly Piece[]): Piece[] {
  const runs: Piece[] = [];
  for (const piece of pieces) {
    const last = runs.at(-1);
    if (last && last.position + last.data.length === piece.position) {
      const data = overwritten(last.data, piece.data, last.data.length);
      runs[runs.length - 1] = { data, position: last.position };
    } else {
      runs.push(piece);
    }
  }
  return runs;
}

function split({ data, position }: Piece): Piece[] {
  const chunks: Piece[] = [];
  for (let at = 0; at < data.length; at += WRITE_BYTES_MAX) {
    chunks.push({ data: data.subarray(at, at + WRITE_BYTES_MAX), position: position + at });
  }
  return chunks;
}
