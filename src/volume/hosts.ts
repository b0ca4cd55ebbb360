/**
 * hosts: who is alive, measured with one clock, the server's.
 *
 * A host rewrites its heartbeat file in place through a descriptor it holds open, one small write a beat. The age of another
 * host's heartbeat is the difference of the two files' times, both set by the server, so hosts' clocks never matter. Age decides only
 * when a take-over may be tried; the log decides who won.
 *
 * Who only looks does not beat, or a host without an agent would look alive: it reads the server's clock from a file of its own.
 *
 * I1 One host name belongs to one machine: `host.json` is created exclusively with the machine's id and never replaced.
 * Not guaranteed: that a host judged expired has stopped. It may be cut off and come back; its commits then find their slots taken.
 */
import { FILE_MODE, writeAll } from '../model/durable-file.js';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { OpenFile } from '../model/filesystem.js';
import type { HostName } from '../model/identifiers.js';
import { HostReads } from './host-reads.js';
import { ensureDirectory, readWhole, unlinkIfThere, writeWhole } from './files.js';
import { DIRECTORY_MODE, hostsPath, newToken, TEMPORARY_PREFIX, type ShareContext } from './share-context.js';

const HOST_RECORD_BYTES_MAX = 4096;
const NS_PER_MS = 1_000_000n;
/** A heartbeat's fixed length: it is overwritten in place, so every beat is as long as the one before. */
const BEAT_BYTES = 64;
/** After the spaces that fill it up: when by that host's clock, and, since they tell it, which version of the program. */
const BEAT_TEXT = /^ *[0-9TZ:.-]+ ([0-9A-Za-z.+~-]{1,32})\n$/;
const RECORD_PREFIX = `${TEMPORARY_PREFIX}host-`;

export class Heartbeat {
  readonly #context: ShareContext;
  readonly #directory: string;
  #file: OpenFile | undefined;
  #isSwept = false;
  readonly #reads: HostReads;

  constructor(context: ShareContext) {
    this.#context = context;
    this.#reads = new HostReads(context);
    this.#directory = `${hostsPath(context)}/${context.host}`;
  }

  /** Rewrites this host's heartbeat and gives its time by the server's clock, ns. */
  async beat(): Promise<bigint> {
    const { clock, version } = this.#context;
    try {
      const file = (this.#file ??= await this.#open());
      const words = [new Date(clock.nowMs()).toISOString(), ...(version === undefined ? [] : [version])];
      const text = `${words.join(' ').slice(0, BEAT_BYTES - 1)}\n`.padStart(BEAT_BYTES, ' ');
      await writeAll(file, 'heartbeat:write', new TextEncoder().encode(text));
      await file.sync('heartbeat:fsync');
      return (await file.stat('heartbeat:stat')).mtimeNs;
    } catch (error) {
      // After a failure the descriptor may be stale (another export, a restarted server): the next beat opens a new one.
      await this.close();
      throw error;
    }
  }

  /** The server's clock, ns: by a beat where this host beats anyway, otherwise by the time that it gives a file that is written now. */
  async serverTimeNs(): Promise<bigint> {
    if (this.#file) return await this.beat();
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
    await this.#register();
  }

  /** Removes what killed programs of this host left half done, in the first call of a process. One that is at work meanwhile tries again. */
  async sweepOnce(): Promise<void> {
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
    return `${TEMPORARY_PREFIX}clock-${this.#context.host}-`;
  }

  /** Goodbye: without a heartbeat file this host counts as expired at once. Only for a host that holds nothing. */
  async leave(): Promise<void> {
    await this.close();
    try {
      await this.#context.fs.unlink('heartbeat:unlink', `${this.#directory}/heartbeat`);
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

  /**
   * Age of another host's heartbeat, ms; `undefined` when it has none.
   *
   * @param ownBeatNs this host's beat of just now
   */
  async ageOf(host: HostName, ownBeatNs: bigint): Promise<number | undefined> {
    return await this.#lookAt(host, (file) => ageOfFile(file, ownBeatNs));
  }

  /** The same, and the version of the program that beats there, if it tells: one more request. */
  async presenceOf(
    host: HostName,
    ownBeatNs: bigint,
  ): Promise<{ readonly ageMs: number; readonly version: string | undefined } | undefined> {
    return await this.#lookAt(host, async (file) => {
      const ageMs = await ageOfFile(file, ownBeatNs);
      const text = new TextDecoder().decode(await file.read('heartbeat:read-other', BEAT_BYTES, 0));
      return { ageMs, version: BEAT_TEXT.exec(text)?.[1] };
    });
  }

  /** @returns `undefined` when it has no heartbeat */
  async #lookAt<Seen>(host: HostName, look: (file: OpenFile) => Promise<Seen>): Promise<Seen | undefined> {
    return await this.#reads.within(host, () => this.#readFileOf(host, look));
  }

  async #readFileOf<Seen>(
    host: HostName,
    look: (file: OpenFile) => Promise<Seen>,
  ): Promise<Seen | undefined> {
    const { fs } = this.#context;
    try {
      // Opening revalidates what this client has cached; a plain stat could be half a minute old.
      const file = await fs.open(
        'heartbeat:open-other',
        `${hostsPath(this.#context)}/${host}/heartbeat`,
        'read',
      );
      try {
        return await look(file);
      } finally {
        await file.close('heartbeat:close-other');
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw NO_FILE.has(errnoOf(error) ?? '') ? noHeartbeat(host, errnoOf(error) ?? '') : error;
    }
  }

  async #open(): Promise<OpenFile> {
    await this.takeName();
    return await this.#context.fs.open(
      'heartbeat:open',
      `${this.#directory}/heartbeat`,
      'overwrite',
      FILE_MODE,
    );
  }

  /** Takes this host's name for this machine, or checks that it is taken for it. */
  async #register(): Promise<void> {
    const { fs, host, machineId } = this.#context;
    const path = `${this.#directory}/host.json`;
    const known = await this.#registeredMachine(path);
    if (known === undefined) {
      const temporary = `${this.#directory}/${RECORD_PREFIX}${newToken(this.#context)}`;
      await writeWhole(
        fs,
        'host-record',
        temporary,
        new TextEncoder().encode(`${JSON.stringify({ machineId })}\n`),
      );
      // EEXIST: another machine was quicker, or our own reply was lost. ENOENT: the quicker one took our file for a leftover. Reading it back tells.
      await fs.link('host-record:link', temporary, path).catch(unless('EEXIST', 'ENOENT'));
      await unlinkIfThere(fs, 'host-record:unlink', temporary);
      await fs.syncDirectory('host-record:sync', this.#directory);
    }
    const owner = known ?? (await this.#registeredMachine(path));
    if (owner === undefined) {
      throw new MirrorError('SHARE_UNAVAILABLE', `${path} could not be written: it was removed meanwhile`, {
        next: 'nothing: it is tried again',
        retriable: true,
      });
    }
    if (owner !== machineId) {
      throw new MirrorError(
        'HOST_NAME_TAKEN',
        `the host name ${host} belongs to another machine on this share`,
        {
          next: `give this host its own name (\`host\` in the configuration); if the machine was reinstalled, remove ${path} first`,
        },
      );
    }
  }

  async #registeredMachine(path: string): Promise<string | undefined> {
    try {
      const text = new TextDecoder().decode(
        await readWhole(this.#context.fs, 'host-record', path, HOST_RECORD_BYTES_MAX),
      );
      const record: unknown = JSON.parse(text);
      return typeof record === 'object' && record !== null && 'machineId' in record
        ? String(record.machineId)
        : '';
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      if (error instanceof SyntaxError) return '';
      throw error;
    }
  }
}

async function ageOfFile(file: OpenFile, ownBeatNs: bigint): Promise<number> {
  const { mtimeNs, kind } = await file.stat('heartbeat:stat-other');
  if (kind !== 'file') throw notAFile();
  return Math.max(0, Number((ownBeatNs - mtimeNs) / NS_PER_MS));
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

function unless(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes(errnoOf(error) ?? '')) throw error;
  };
}
