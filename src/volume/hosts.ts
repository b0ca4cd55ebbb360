/**
 * hosts: who is alive.
 *
 * A host rewrites its heartbeat in place, one request a beat (`own-beat.ts`). Another one is dead
 *
 *   where files' times are the server's     when its beat is older than the expiry: own beat and the other's are
 *   (`share-semantics.ts`)                  stamped by one clock, so that hosts' clocks never matter
 *   everywhere                              when its beat has not changed for the expiry, by this host's own clock: also
 *                                           where times are the writers', and where one lies in the future
 *
 * That decides only when a take-over may be tried; the log decides who won.
 *
 * Who only looks does not beat, or a host without an agent would look alive: it reads the server's clock from a file of its own.
 *
 * I1 One host name belongs to one host (see `host-record.ts`).
 * I2 A host that was renamed beats under its former names, too, until nothing on the share is held under them.
 * Not guaranteed: that a host judged expired has stopped. It may be cut off and come back; its commits then find their slots taken.
 */
import { FILE_MODE, writeAll } from '../model/durable-file.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import { BEAT_BYTES_MAX, parseBeat } from '../model/heartbeat-text.js';
import { isOwn, type Author, type HostId } from '../model/host-identity.js';
import { isHostName, type HostName } from '../model/identifiers.js';
import { isFenced } from './fenced-mark.js';
import { ensureDirectory, unlinkIfThere } from './files.js';
import {
  hostPath,
  isOwnRecord,
  readHostRecord,
  RECORD_PREFIX,
  removeHostRecord,
  takeHostName,
} from './host-record.js';
import { HostReads } from './host-reads.js';
import { HostWatch, ShareTime } from './host-watch.js';
import { OwnBeat, type Double } from './own-beat.js';
import { expectFitShare } from './share-fitness.js';
import {
  DIRECTORY_MODE,
  expiryOf,
  hostsPath,
  newToken,
  TEMPORARY_PREFIX,
  type ShareContext,
} from './share-context.js';

const NS_PER_MS = 1_000_000n;
/** Beats between two checks that the heartbeat is still the file under its name. */
const BEATS_PER_CHECK = 6;
/** Other hosts' beats that are read at a time, beside everything else: a dead client's file may hang. */
const WATCHERS_MAX = 2;
/** By each of them after a beat: of more hosts than that, the next beat's watchers read the others. */
const WATCHED_PER_BEAT = 16;

/** A host, as its heartbeat shows it. */
export interface Presence {
  /** For how long it has not beaten, ms, as far as is known. */
  readonly silentMs: number;
  /** Its silence rests on this process's own watching alone, which has just begun. */
  readonly isWatched: boolean;
  /** How far its beat lies in the future of the server's clock, ms; 0 for not at all. */
  readonly aheadMs: number;
  /** Of the program that beats there, if it tells. */
  readonly version: string | undefined;
  readonly id: HostId | undefined;
  /** It was declared dead as of this beat. */
  readonly fenced: boolean;
}

export class Heartbeat {
  readonly #context: ShareContext;
  readonly #directory: string;
  readonly #time: ShareTime;
  readonly #watch: HostWatch;
  readonly #own: OwnBeat;
  /** Under former names. */
  readonly #former = new Map<HostName, OwnBeat>();
  #hasServerTime: Promise<boolean> | undefined;
  #formerIsOpen = false;
  #isSwept = false;
  #beats = 0;
  #watchers = 0;
  #toWatch: HostName[] = [];
  readonly #reads: HostReads;

  constructor(context: ShareContext) {
    this.#context = context;
    this.#reads = new HostReads(context);
    this.#directory = hostPath(context, context.self.name);
    this.#time = new ShareTime(context.clock, expiryOf(context) / 2);
    this.#watch = new HostWatch(this.#time);
    this.#own = this.#beatIn(this.#directory);
  }

  /** Rewrites this host's heartbeat and gives its time, ns. */
  async beat(): Promise<bigint> {
    if (!this.#own.isOpen) await this.takeName();
    if (++this.#beats % BEATS_PER_CHECK === 0) await this.#own.checkPlace();
    const ns = await this.#own.beat();
    await this.#beatUnderFormerNames();
    return ns;
  }

  /** Another instance under this host's identity that is not known to be dead. */
  double(hostExpiryMs: number): Double | undefined {
    for (const beat of [this.#own, ...this.#former.values()]) {
      const double = beat.double(hostExpiryMs);
      if (double) return double;
    }
    return undefined;
  }

  /** The same, as `beat` reports it. */
  doubled(): { readonly double?: Double } {
    const double = this.double(expiryOf(this.#context));
    return double ? { double } : {};
  }

  /** What is done beside a beat. */
  async tend(): Promise<void> {
    await this.#sweepOnce();
    await this.#watchOthers();
  }

  async #beatUnderFormerNames(): Promise<void> {
    if (!this.#formerIsOpen) {
      for (const name of this.#context.self.leaving) {
        const record = await readHostRecord(this.#context, name);
        if (!record || !isOwnRecord(record, this.#context)) continue;
        this.#former.set(name, this.#beatIn(hostPath(this.#context, name)));
      }
      this.#formerIsOpen = true;
    }
    for (const beat of this.#former.values()) await beat.beat();
  }

  #beatIn(directory: string): OwnBeat {
    return new OwnBeat(this.#context, directory, this.#time, () => this.hasServerTime());
  }

  /** Whether one clock stamps all hosts' files. */
  hasServerTime(): Promise<boolean> {
    const { fs, isTimeObserved } = this.#context;
    this.#hasServerTime ??= fs
      .statfs('hosts:statfs', hostsPath(this.#context))
      .then((space) => expectFitShare(this.#context.root, space).timeSource === 'server' && !isTimeObserved)
      .catch((error: unknown) => {
        this.#hasServerTime = undefined;
        throw error;
      });
    return this.#hasServerTime;
  }

  /** The server's clock, ns: by a beat where this host beats anyway, otherwise by the time that it gives a file that is written now. */
  async serverTimeNs(): Promise<bigint> {
    if (this.#own.isOpen) return await this.beat();
    const { fs } = this.#context;
    const path = `${hostsPath(this.#context)}/${this.#clockPrefix}${newToken(this.#context)}`;
    const file = await fs.open('clock:open', path, 'overwrite', FILE_MODE);
    try {
      await writeAll(file, 'clock:write', new Uint8Array(1));
      await file.sync('clock:fsync');
      return (await file.stat('clock:stat')).mtimeNs;
    } finally {
      // The time is what is wanted; what becomes of the file is not.
      await file.close('clock:close').catch(() => undefined);
      await unlinkIfThere(fs, 'clock:unlink', path).catch(() => undefined);
    }
  }

  /** Takes this host's name without beating. @throws MirrorError `HOST_NAME_TAKEN` */
  async takeName(): Promise<void> {
    const { fs } = this.#context;
    await ensureDirectory(fs, 'heartbeat', hostsPath(this.#context), this.#directory, DIRECTORY_MODE);
    await takeHostName(this.#context, this.#directory);
  }

  /** Removes what killed programs of this host left half done, in the first call of a process. One that is at work meanwhile tries again. */
  async #sweepOnce(): Promise<void> {
    if (this.#isSwept) return;
    this.#isSwept = true;
    // Leftovers harm nobody, whatever is wrong with their removal.
    await this.#sweep().catch(() => undefined);
  }

  async #sweep(): Promise<void> {
    const { fs } = this.#context;
    for (const [directory, prefix] of [
      [hostsPath(this.#context), this.#clockPrefix],
      [this.#directory, RECORD_PREFIX],
    ] as const) {
      for (const name of await fs.readdir('heartbeat:readdir', directory)) {
        if (name.startsWith(prefix)) await unlinkIfThere(fs, 'heartbeat:sweep', `${directory}/${name}`);
      }
    }
  }

  get #clockPrefix(): string {
    return `${TEMPORARY_PREFIX}clock-${this.#context.self.name}-`;
  }

  /** Goodbye: without a heartbeat file this host counts as expired at once. Only for a host that holds nothing. */
  async leave(): Promise<void> {
    for (const beat of [this.#own, ...this.#former.values()]) await beat.remove();
  }

  /** Nothing is held under the former names any more. @returns those that are this host's no longer */
  async leaveFormerNames(): Promise<HostName[]> {
    const { leaving } = this.#context.self;
    for (const name of leaving) {
      await this.#former.get(name)?.close();
      this.#former.delete(name);
      await removeHostRecord(this.#context, name);
    }
    return [...leaving];
  }

  async close(): Promise<void> {
    for (const beat of [this.#own, ...this.#former.values()]) await beat.close();
  }

  /**
   * Another host's presence; `undefined` when it has no heartbeat.
   *
   * @param nowNs the server's clock, as it was told just now
   */
  async presenceOf(host: Author, nowNs: bigint): Promise<Presence | undefined> {
    const { self } = this.#context;
    // An instance of this host's identity that it never was.
    if (host.id === self.id && !isOwn(host, self)) return this.#presenceOfDouble();
    const found = await this.#presenceUnder(host.host, nowNs);
    if (host.id === undefined || found?.id === host.id || (found && found.id === undefined)) return found;
    const name = await this.#presentNameOf(host.id, host.host);
    return name === undefined ? undefined : await this.#presenceUnder(name, nowNs);
  }

  #presenceOfDouble(): Presence | undefined {
    const double = this.double(expiryOf(this.#context));
    if (!double) return undefined;
    const { silentMs } = double;
    return {
      silentMs,
      isWatched: true,
      aheadMs: 0,
      version: undefined,
      id: this.#context.self.id,
      fenced: false,
    };
  }

  /** Under which other name a host has its record now. */
  async #presentNameOf(id: HostId, former: HostName): Promise<HostName | undefined> {
    const { fs } = this.#context;
    const names = await fs.readdir('hosts:readdir', hostsPath(this.#context));
    for (const name of names.filter(isHostName)) {
      if (name !== former && (await readHostRecord(this.#context, name))?.id === id) return name;
    }
    return undefined;
  }

  async #presenceUnder(name: HostName, nowNs: bigint): Promise<Presence | undefined> {
    const serverNs = (await this.hasServerTime()) ? nowNs : undefined;
    return await this.#reads.within(name, () => this.#readPresence(name, serverNs));
  }

  /** @param serverNs the clock that stamps all hosts' files; `undefined`: there is none */
  async #readPresence(name: HostName, serverNs: bigint | undefined): Promise<Presence | undefined> {
    const { fs } = this.#context;
    const askedMs = this.#time.now;
    try {
      // Opening revalidates what this client has cached; a plain stat could be half a minute old.
      const path = `${hostPath(this.#context, name)}/heartbeat`;
      const file = await fs.open('heartbeat:open-other', path, 'read');
      try {
        const { mtimeNs, kind } = await file.stat('heartbeat:stat-other');
        if (kind !== 'file') throw notAFile();
        const data = await file.read('heartbeat:read-other', BEAT_BYTES_MAX, 0);
        const unchangedMs = this.#watch.saw(name, Buffer.from(data).toString('latin1'), askedMs);
        const ageMs = serverNs === undefined ? 0 : Number((serverNs - mtimeNs) / NS_PER_MS);
        const beat = parseBeat(data);
        return {
          silentMs: Math.max(0, ageMs, unchangedMs),
          isWatched: serverNs === undefined || ageMs < 0,
          aheadMs: Math.max(0, -ageMs),
          version: beat?.version,
          id: beat?.by?.id,
          fenced: await isFenced(this.#context, name, file),
        };
      } finally {
        await file.close('heartbeat:close-other');
      }
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      if (errno !== 'ENOENT') throw NO_FILE.has(errno) ? noHeartbeat(name, errno) : error;
      this.#watch.forget(name);
      return undefined;
    }
  }

  /**
   * Begins to read other hosts' beats where their times tell nothing, so that a start finds them judged. Nobody waits for it, and no more than
   * `WATCHERS_MAX` calls are under way: a dead host's file can hang until the storage has given that host up.
   */
  async #watchOthers(): Promise<void> {
    if (await this.hasServerTime()) return;
    while (this.#watchers < WATCHERS_MAX) {
      this.#watchers += 1;
      void this.#watchSome().finally(() => (this.#watchers -= 1));
    }
  }

  async #watchSome(): Promise<void> {
    const { fs, self } = this.#context;
    try {
      if (this.#toWatch.length === 0) {
        const names = await fs.readdir('hosts:readdir', hostsPath(this.#context));
        this.#toWatch = names.filter(isHostName).filter((name) => name !== self.name);
      }
      for (let left = WATCHED_PER_BEAT; left > 0; left--) {
        const name = this.#toWatch.shift();
        if (name === undefined) return;
        await this.#presenceUnder(name, 0n).catch(() => undefined);
      }
    } catch {
      // The next beat tries again.
    }
  }
}

/** What opening and reading answer of something else in a heartbeat's place. */
const NO_FILE: ReadonlySet<string> = new Set(['ELOOP', 'ENXIO', 'EISDIR', 'ESPIPE', 'ENODEV', 'EINVAL']);

function notAFile(): NodeJS.ErrnoException {
  return Object.assign(new Error('EISDIR: not a regular file'), { code: 'EISDIR' });
}

function noHeartbeat(host: HostName, errno: string): MirrorError {
  return new MirrorError(
    'VOLUME_DAMAGED',
    `hosts/${host}/heartbeat is no regular file (${errno}): nothing tells whether host ${host} lives`,
    {
      next: 'something other than swtpm-mirror put it there: remove it; where that host lives, it writes a new one',
    },
  );
}
