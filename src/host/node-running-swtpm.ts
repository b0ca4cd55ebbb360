/**
 * node-running-swtpm: which domains have a running swtpm on this host, read from `/proc`.
 *
 * A domain's swtpm is told by its name and its command line, which names its state directory (`--tpmstate dir=<swtpm_dir>/<uuid>/tpm2,…`), or the one that
 * the domain's owner chose and that is known to be this domain's. That holds
 * for libvirt and for everybody who starts swtpm by hand, and asks nobody who could be restarting just now. The state's
 * `.lock` is no use: it stays when swtpm has gone.
 *
 * Every process of the host is looked at, so that a look must be cheap: one short read of `stat`, which waits for nothing, and the command line of a swtpm
 * once in its life. That one waits for a process which hangs in a page fault, and so is never asked of strangers.
 */
import { readFile, readFileSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

const PROCESS_ID = /^\d+$/;
const UUID_DIGITS = 36;
/** Processes looked at before everything else gets its turn. */
const TOGETHER = 64;
/** `comm` of swtpm's forms, behind a distribution's wrapper too; not of `swtpm_setup`, which works on a TPM that is not in use yet. */
const SWTPM = /^\.?swtpm(_cuse)?(-wrapped)?$/;
/** Among the fields that follow the name: see proc(5), `state` and `starttime`. */
const STATE = 0;
const START_TIME = 19;
/** It has ended, and its parent has not asked for its status yet; in a container perhaps never does. */
const ENDED = /^[ZXx]$/;

interface KnownSwtpm {
  /** Ticks since the boot: another one is another process of the same id. */
  readonly startTime: string;
  /** By its directory's name, in libvirt's own place. */
  readonly domains: readonly DomainUuid[];
  /** All directories that its command line names, with no link on the way to them. */
  readonly directories: readonly string[];
}

export class RunningSwtpm {
  readonly #root: string;
  #prefixes: readonly string[] | undefined;
  /** By directory, the domains whose owners chose one. */
  readonly #owners = new Map<string, DomainUuid>();
  readonly #procRoot: string;
  #known = new Map<string, KnownSwtpm>();

  /**
   * @param swtpmRoot absolute path of libvirt's directory of all domains' TPMs
   * @param procRoot where proc is mounted
   */
  constructor(swtpmRoot: string, procRoot = '/proc') {
    this.#root = swtpmRoot;
    this.#procRoot = procRoot;
  }

  /** @param directory absolute and plain, no link on the way to it; `undefined`: the domain's own in libvirt's place */
  know(uuid: DomainUuid, directory: string | undefined): void {
    for (const [known, owner] of this.#owners) if (owner === uuid) this.#owners.delete(known);
    if (directory !== undefined) this.#owners.set(directory, uuid);
  }

  /** Directories in which a swtpm works that belong to no domain that is known. */
  async strangers(): Promise<readonly string[]> {
    await this.list();
    return [...this.#known.values()]
      .filter((known) => this.#domainsOf(known).length === 0)
      .flatMap(({ directories }) => directories);
  }

  #domainsOf({ domains, directories }: KnownSwtpm): readonly DomainUuid[] {
    const owners = directories.flatMap((directory) => this.#owners.get(directory) ?? []);
    return owners.length > 0 ? owners : domains;
  }

  /** One look at a time. @throws NodeJS.ErrnoException */
  async list(): Promise<ReadonlySet<DomainUuid>> {
    const found = new Map<string, KnownSwtpm>();
    const pids = (await readdir(this.#procRoot)).filter((name) => PROCESS_ID.test(name));
    for (let at = 0; at < pids.length; at += TOGETHER) {
      for (const pid of pids.slice(at, at + TOGETHER)) {
        const startTime = this.#startTimeOfSwtpm(pid);
        if (startTime !== undefined) found.set(pid, await this.#know(pid, startTime));
      }
      await setImmediate();
    }
    this.#known = found;
    return new Set([...found.values()].flatMap((known) => this.#domainsOf(known)));
  }

  /** `undefined` for any other process, and for one that has ended meanwhile. */
  #startTimeOfSwtpm(pid: string): string | undefined {
    try {
      const stat = readFileSync(`${this.#procRoot}/${pid}/stat`, 'latin1');
      const end = stat.lastIndexOf(')');
      if (!SWTPM.test(stat.slice(stat.indexOf('(') + 1, end))) return undefined;
      const fields = stat.slice(end + 2).split(' ');
      return ENDED.test(fields[STATE] ?? '') ? undefined : fields[START_TIME];
    } catch {
      return undefined;
    }
  }

  async #know(pid: string, startTime: string): Promise<KnownSwtpm> {
    const known = this.#known.get(pid);
    // One that names no domain may be about to become another program, or to be told its command line.
    const isKnown = known !== undefined && known.domains.length + known.directories.length > 0;
    if (isKnown && known.startTime === startTime) return known;
    const words = (await textOf(`${this.#procRoot}/${pid}/cmdline`)).split('\0').slice(1);
    this.#prefixes ??= [...new Set([plain(this.#root), await realPath(plain(this.#root))])];
    const named = words.flatMap(directoriesIn);
    const directories = await Promise.all(named.map(realPath));
    const candidates = [...words, ...named, ...directories];
    const domains = this.#prefixes.flatMap((root) =>
      candidates.flatMap((word) => domainsIn(word, `${root}/`)),
    );
    return {
      startTime,
      domains: [...new Set(domains)],
      directories: [...new Set([...named, ...directories])],
    };
  }
}

/** Empty for a process that has ended meanwhile. */
async function textOf(path: string): Promise<string> {
  return await new Promise((resolve) => {
    readFile(path, 'utf8', (error, text) => {
      resolve(error ? '' : text);
    });
  });
}

/** What `--tpmstate` names: `dir=PATH,mode=0600` or `backend-uri=dir://PATH`. */
function directoriesIn(word: string): string[] {
  const [, path] = /^(?:[^/]*,)?(?:dir=|backend-uri=dir:\/\/)(\/[^,]*)/.exec(word) ?? [];
  return path === undefined ? [] : [plain(path)];
}

/** Without `.`, `..`, doubled or last slashes. */
function plain(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** Itself, where it leads nowhere. */
async function realPath(path: string): Promise<string> {
  return await realpath(path).catch(() => path);
}

function domainsIn(word: string, prefix: string): DomainUuid[] {
  const at = word.indexOf(prefix);
  if (at < 0) return [];
  const uuid = word.slice(at + prefix.length, at + prefix.length + UUID_DIGITS);
  return isDomainUuid(uuid) ? [uuid] : [];
}
