/**
 * node-running-qemu: whether a domain's QEMU runs on this host, read from `/proc`; for a domain whose swtpm has ended.
 *
 * A QEMU is told by the domain's UUID on its command line (`-uuid`, as libvirt has it), or by the socket of the domain's swtpm there,
 * which is learnt while that swtpm lives: whoever starts QEMU by hand may give it no UUID.
 *
 * I1 `gone` is said only of a QEMU that was seen to run. One that never was may run under any command line: that is `unknown`.
 * I2 A process whose command line does not come, because the process hangs in a page fault, makes no domain `gone`.
 */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

export type GuestSight = 'runs' | 'gone' | 'unknown';

const PROCESS_ID = /^\d+$/;
/** Processes read before everything else gets its turn. */
const TOGETHER = 64;
const READ_DEADLINE_MS = 1000;
const SWTPM = /^\.?swtpm/;
/** `comm` of QEMU under every name that a distribution gives it. */
const QEMU = /^\.?(qemu|kvm)/;
const UUID_IN_PATH = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
const SOCKET = /(?:^|,)path=([^,]+)/;
/** Fields that follow the name in `stat`: see proc(5). */
const STATE = 0;
const START_TIME = 19;
const ENDED = /^[ZXx]$/;

interface ProcessFacts {
  readonly pid: string;
  readonly name: string;
  /** Ticks since the boot: another one is another process of the same id. */
  readonly startTime: string;
}

export class RunningQemu {
  readonly #procRoot: string;
  readonly #known = new Map<DomainUuid, Pick<ProcessFacts, 'pid' | 'startTime'>>();
  /** Of each domain's swtpm, while it lived. */
  readonly #sockets = new Map<DomainUuid, readonly string[]>();

  /** @param procRoot where proc is mounted */
  constructor(procRoot = '/proc') {
    this.#procRoot = procRoot;
  }

  /** Learns the QEMUs of domains whose swtpm runs, as long as they are not known. */
  async learn(domains: ReadonlySet<DomainUuid>): Promise<void> {
    if ([...domains].every((uuid) => this.#isRunning(uuid))) return;
    const found = await this.#processes();
    for (const process of found.filter(({ name }) => SWTPM.test(name))) {
      this.#learnSockets(await this.#words(process));
    }
    for (const process of found.filter(({ name }) => QEMU.test(name))) {
      const words = await this.#words(process);
      for (const uuid of domains) if (words && this.#isGuestOf(words, uuid)) this.#known.set(uuid, process);
    }
  }

  /** Every process of the host is asked for its command line: only of a domain of which nothing better is known. */
  async guest(uuid: DomainUuid): Promise<GuestSight> {
    if (this.#isRunning(uuid)) return 'runs';
    let isWhole = true;
    for (const process of await this.#processes()) {
      if (SWTPM.test(process.name)) continue;
      const words = await this.#words(process);
      if (words === undefined) isWhole = false;
      else if (this.#isGuestOf(words, uuid)) {
        this.#known.set(uuid, process);
        return 'runs';
      }
    }
    return isWhole && this.#known.has(uuid) ? 'gone' : 'unknown';
  }

  /** A run of the domain has ended: the next one has another QEMU. */
  forget(uuid: DomainUuid): void {
    this.#known.delete(uuid);
    this.#sockets.delete(uuid);
  }

  #isRunning(uuid: DomainUuid): boolean {
    const known = this.#known.get(uuid);
    return known !== undefined && this.#facts(known.pid)?.startTime === known.startTime;
  }

  #learnSockets(words: readonly string[] | undefined): void {
    const uuid = words
      ?.map((word) => UUID_IN_PATH.exec(word.toLowerCase())?.[0])
      .find((one) => one !== undefined);
    if (!words || uuid === undefined || !isDomainUuid(uuid)) return;
    const sockets = words.flatMap((word) =>
      word.startsWith('type=unixio') ? (SOCKET.exec(word)?.[1] ?? []) : [],
    );
    if (sockets.length > 0) this.#sockets.set(uuid, sockets);
  }

  #isGuestOf(words: readonly string[], uuid: DomainUuid): boolean {
    const hasUuid = words.some(
      (word, at) => (word === '-uuid' || word === '--uuid') && words[at + 1]?.toLowerCase() === uuid,
    );
    const sockets = this.#sockets.get(uuid) ?? [];
    return hasUuid || words.some((word) => sockets.some((path) => namesSocket(word, path)));
  }

  /** @throws NodeJS.ErrnoException */
  async #processes(): Promise<ProcessFacts[]> {
    const pids = (await readdir(this.#procRoot)).filter((name) => PROCESS_ID.test(name));
    const found: ProcessFacts[] = [];
    for (let at = 0; at < pids.length; at += TOGETHER) {
      for (const pid of pids.slice(at, at + TOGETHER)) {
        const facts = this.#facts(pid);
        if (facts) found.push(facts);
      }
      await setImmediate();
    }
    return found;
  }

  /** `undefined` for a process that has ended, though its parent may not have asked for its status yet. */
  #facts(pid: string): ProcessFacts | undefined {
    try {
      const stat = readFileSync(`${this.#procRoot}/${pid}/stat`, 'latin1');
      const end = stat.lastIndexOf(')');
      const fields = stat.slice(end + 2).split(' ');
      const startTime = fields[START_TIME];
      if (ENDED.test(fields[STATE] ?? '') || startTime === undefined) return undefined;
      return { pid, startTime, name: stat.slice(stat.indexOf('(') + 1, end) };
    } catch {
      return undefined;
    }
  }

  /** @returns `undefined` when it does not come in time; nothing for a process that has ended meanwhile */
  async #words({ pid }: ProcessFacts): Promise<readonly string[] | undefined> {
    const over = new AbortController();
    const late = setTimeout(READ_DEADLINE_MS, undefined, { signal: over.signal, ref: false }).catch(
      () => undefined,
    );
    const text = readFile(`${this.#procRoot}/${pid}/cmdline`, 'utf8').catch(() => '');
    const found = await Promise.race([text, late]);
    over.abort();
    return found?.split('\0');
  }
}

/** In QEMU's two ways to write an option: `-chardev socket,id=chrtpm,path=…`, and as JSON. */
function namesSocket(word: string, path: string): boolean {
  return word.split(',').includes(`path=${path}`) || word.includes(`"path":"${path}"`);
}
