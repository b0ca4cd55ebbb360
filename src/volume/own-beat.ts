/**
 * own-beat: this host's heartbeat file, and whether anybody else beats in it.
 *
 * A beat is one write in place through a descriptor that stays open: one request on NFS. A second
 * machine under the same identity (a copy of a disk image, a copied state directory) writes into the
 * same file. Each instance writes a longer text than the one that it found, so that the size that the
 * answer to the write tells, and that costs nothing, shows every other one what has come:
 *
 *   a beat whose file is longer than it     another instance began since: its text's end says which
 *   an instance found at the first beat     it may live: the file is read before each beat, until it is known to be dead
 *
 * I1 Whoever is doubled learns it by his first beat after the other's first one; the other by the
 *    beat after that.
 * I2 An instance counts as dead when its beat has not changed for the host's expiry. One of an
 *    earlier boot of the same hardware need not be waited for that long, since no machine runs
 *    two boots: a part of the expiry, in which a living double would beat.
 * I3 The programs of an instance come and go, and beat into one file: what one of them has found, and
 *    does not know to be dead, stands in its text, and the next one goes on from there.
 * I4 A text that is longer than the file extends it first, so that a full share leaves whole what was
 *    found there.
 * Not guaranteed: that a double is seen while it is cut off. It is another host then, which may have
 * expired; entries of the log tell its instance apart (`host-identity.ts`).
 */
import { FILE_MODE, ShortWriteError, writeAll } from '../model/durable-file.js';
import { errnoOf } from '../model/errors.js';
import type { FileStat, OpenFile } from '../model/filesystem.js';
import {
  BEAT_BYTES_MAX,
  BEAT_STEP,
  formatBeat,
  beatBytesIn,
  parseBeat,
  parseLastBeater,
  type Beater,
  type FoundInstance,
} from '../model/heartbeat-text.js';
import type { ShareTime } from './host-watch.js';
import type { ShareContext } from './share-context.js';

const NS_PER_MS = 1_000_000n;
/** Of the expiry, for an instance that ended with its machine's former boot. */
const FORMER_BOOT_PART = 1 / 3;

/** Another instance under this host's identity. */
export interface Double extends Pick<Beater, 'host' | 'bootId' | 'addresses' | 'instance'> {
  /** It was seen to beat while this one did; otherwise it may be dead, and is watched. */
  readonly isSeen: boolean;
  /** Since its last beat, as far as this host knows, ms. */
  readonly silentMs: number;
  /** After which silence it counts as dead, ms. */
  readonly expiryMs: number;
}

interface Other {
  readonly beater: Omit<FoundInstance, 'isSeen' | 'silentMs'> & Partial<Pick<Beater, 'at' | 'beats'>>;
  readonly isSeen: boolean;
  /** When that was seen, by the share's time. */
  readonly atMs: number;
  /** How old its beat was then, by the server's clock, ms. */
  readonly ageMs: number;
}

export class OwnBeat {
  readonly #context: ShareContext;
  readonly #path: string;
  readonly #time: ShareTime;
  readonly #hasServerTime: () => Promise<boolean>;
  #file: OpenFile | undefined;
  #bytes = BEAT_STEP;
  /** As far as is known. */
  #fileBytes = 0;
  #beats = 0;
  #other: Other | undefined;
  /** Of what was found at the first beat. */
  #foundMtimeNs: bigint | undefined;

  /** @param directory of a name that is this host's */
  constructor(
    context: ShareContext,
    directory: string,
    time: ShareTime,
    hasServerTime: () => Promise<boolean>,
  ) {
    this.#context = context;
    this.#path = `${directory}/heartbeat`;
    this.#time = time;
    this.#hasServerTime = hasServerTime;
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  /** Beats once. @returns the time that the file has then, ns */
  async beat(): Promise<bigint> {
    try {
      const file = (this.#file ??= await this.#open());
      if (this.#other) await this.#readBack();
      const stat = await this.#write(file);
      const nowMs = this.#time.answered();
      if (this.#foundMtimeNs !== undefined) await this.#judgeFound(this.#foundMtimeNs, stat.mtimeNs);
      if (stat.size > this.#bytes) return await this.#noticeLonger(nowMs);
      return stat.mtimeNs;
    } catch (error) {
      // The descriptor may be stale (another export, a restarted server): the next beat opens a new one.
      await this.close();
      throw error;
    }
  }

  /** The file under the name is no longer the one that is written: the next beat opens that one. */
  async checkPlace(): Promise<void> {
    if (!this.#file) return;
    const { inode } = await this.#file.stat('heartbeat:stat-open');
    const there = await this.#context.fs.lstat('heartbeat:lstat', this.#path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return undefined;
    });
    if (there?.inode !== inode) await this.close();
  }

  /** Another instance that is not known to be dead. */
  double(hostExpiryMs: number): Double | undefined {
    if (!this.#other) return undefined;
    const { beater, isSeen, atMs, ageMs } = this.#other;
    const { host, bootId, addresses, instance } = beater;
    const silentMs = ageMs + this.#time.now - atMs;
    const expiryMs = isSeen ? hostExpiryMs : this.#patienceMs(beater, hostExpiryMs);
    if (silentMs < expiryMs) return { host, bootId, addresses, instance, isSeen, silentMs, expiryMs };
    this.#other = undefined;
    return undefined;
  }

  #patienceMs({ bootId, hardware }: Other['beater'], hostExpiryMs: number): number {
    const { self } = this.#context;
    const isFormerBoot = bootId !== self.bootId && hardware !== '' && hardware === self.hardware;
    return isFormerBoot ? hostExpiryMs * FORMER_BOOT_PART : hostExpiryMs;
  }

  /** Removes the file, if no other instance wrote it last. */
  async remove(): Promise<void> {
    await this.close();
    try {
      const by = parseBeat(await this.#read())?.by;
      if (by && by.instance !== this.#context.self.instance) return;
      await this.#context.fs.unlink('heartbeat:unlink', this.#path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    // A descriptor that cannot be closed is freed all the same; the beat's own error is the one that counts.
    await file?.close('heartbeat:close').catch(() => undefined);
  }

  async #open(): Promise<OpenFile> {
    const { fs, self } = this.#context;
    const found = await this.#readWithStat().catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return undefined;
    });
    const last = found && parseLastBeater(found.data);
    // Whoever wrote last, or began last: a text is longer than all that it found.
    const by = [found && parseBeat(found.data)?.by, last].find(
      (beater) => beater && beater.instance !== self.instance,
    );
    // After a first beat of this host, whoever wrote last has done so since.
    if (this.#beats > 0) this.#saw(by);
    else if (by && found) {
      this.#other = { beater: by, isSeen: false, atMs: this.#time.answered(), ageMs: 0 };
      this.#foundMtimeNs = found.stat.mtimeNs;
    }
    this.#goOnFrom(last);
    const size = found?.stat.size ?? 0;
    this.#fileBytes = size;
    // Programs of one instance write texts of one length.
    const bytes = beatBytesIn(size, last?.instance === self.instance);
    this.#bytes = bytes ?? BEAT_STEP;
    const mode = bytes === undefined ? 'create' : 'overwrite';
    if (bytes === undefined) this.#fileBytes = 0;
    return await fs.open('heartbeat:open', this.#path, mode, FILE_MODE);
  }

  async #write(file: OpenFile): Promise<FileStat> {
    const { clock, version, self } = this.#context;
    const { id, instance, name: host, bootId, hardware, addresses } = self;
    const at = new Date(clock.nowMs()).toISOString();
    const beats = (this.#beats += 1);
    const by = { at, id, instance, host, bootId, hardware, addresses, beats, found: this.#found() };
    const text = formatBeat(version, by, this.#bytes);
    await this.#extend(file, text);
    await writeAll(file, 'heartbeat:write', text);
    await file.sync('heartbeat:fsync');
    this.#fileBytes = Math.max(this.#fileBytes, text.length);
    return await file.stat('heartbeat:stat');
  }

  /** The end of a text that is longer than the file (I4). */
  async #extend(file: OpenFile, text: Uint8Array): Promise<void> {
    let position = this.#fileBytes;
    if (position === 0 || position >= text.length) return;
    while (position < text.length) {
      const written = await file.write('heartbeat:extend', text.subarray(position), position);
      if (written <= 0) throw new ShortWriteError(`no space left on device, wrote ${position} bytes`);
      position += written;
    }
    await file.sync('heartbeat:fsync-extended');
    this.#fileBytes = text.length;
  }

  /** For the programs of this instance that follow (I3). */
  #found(): FoundInstance | undefined {
    if (!this.#other) return undefined;
    const { beater, isSeen, atMs, ageMs } = this.#other;
    const { instance, host, bootId, hardware, addresses } = beater;
    const silentMs = Math.round(ageMs + this.#time.now - atMs);
    return { instance, host, bootId, hardware, addresses, isSeen, silentMs };
  }

  /** @param last whoever wrote the file's end: a program of this instance may have found another one (I3) */
  #goOnFrom(last: Beater | undefined): void {
    if (this.#other || last?.instance !== this.#context.self.instance || !last.found) return;
    const { isSeen, silentMs, ...beater } = last.found;
    this.#other = { beater, isSeen, atMs: this.#time.answered(), ageMs: silentMs };
  }

  /** What was found may have been silent for long, which the server's clock tells. */
  async #judgeFound(foundNs: bigint, nowNs: bigint): Promise<void> {
    this.#foundMtimeNs = undefined;
    if (!this.#other || this.#other.isSeen || !(await this.#hasServerTime())) return;
    this.#other = { ...this.#other, ageMs: Math.max(0, Number((nowNs - foundNs) / NS_PER_MS)) };
  }

  /** Who has beaten since this host's last beat? */
  async #readBack(): Promise<void> {
    const by = parseBeat(await this.#read())?.by;
    this.#saw(by);
  }

  async #noticeLonger(nowMs: number): Promise<bigint> {
    const { self } = this.#context;
    const { data, stat } = await this.#readWithStat();
    const last = parseLastBeater(data);
    const bytes = beatBytesIn(stat.size, last?.instance === self.instance);
    if (last && last.instance !== self.instance) {
      this.#other = { beater: last, isSeen: true, atMs: nowMs, ageMs: 0 };
    }
    if (bytes === undefined) {
      await this.close();
      this.#file = await this.#context.fs.open('heartbeat:open', this.#path, 'create', FILE_MODE);
    }
    this.#fileBytes = bytes === undefined ? 0 : stat.size;
    this.#bytes = bytes ?? BEAT_STEP;
    const file = (this.#file ??= await this.#open());
    // At once, and longer: the other one is to learn it, too.
    return (await this.#write(file)).mtimeNs;
  }

  /** Who has written the file last. */
  #saw(by: Beater | undefined): void {
    if (!by || by.instance === this.#context.self.instance) return;
    const known = this.#other?.beater;
    if (known?.instance === by.instance && known.beats === by.beats && known.at === by.at) return;
    this.#other = { beater: by, isSeen: true, atMs: this.#time.answered(), ageMs: 0 };
  }

  async #read(): Promise<Uint8Array> {
    return (await this.#readWithStat()).data;
  }

  /** Opened anew, so that the client asks the server. */
  async #readWithStat(): Promise<{ readonly data: Uint8Array; readonly stat: FileStat }> {
    const file = await this.#context.fs.open('heartbeat:open-own', this.#path, 'read');
    try {
      const stat = await file.stat('heartbeat:stat-own');
      const data = await file.read('heartbeat:read-own', BEAT_BYTES_MAX, 0);
      return { data, stat };
    } finally {
      await file.close('heartbeat:close-own');
    }
  }
}
