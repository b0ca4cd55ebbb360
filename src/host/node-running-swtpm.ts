/**
 * node-running-swtpm: which domains have a running swtpm on this host, read from `/proc`.
 *
 * A domain's swtpm is told by its name and its command line, which names its state directory (`--tpmstate dir=<swtpm_dir>/<uuid>/tpm2,…`). That holds
 * for libvirt and for everybody who starts swtpm by hand, and asks nobody who could be restarting just now. The state's
 * `.lock` is no use: it stays when swtpm has gone.
 */
import { readFile } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

const PROCESS_ID = /^\d+$/;
const UUID_DIGITS = 36;
/** Processes looked at at a time: one by one, waiting for threads would cost more than looking. */
const TOGETHER = 64;
/** `comm` of swtpm's forms: `swtpm`, `swtpm_cuse`; not of `swtpm_setup`, which works on a TPM that is not in use yet. */
const SWTPM = /^swtpm(_cuse)?$/;

/**
 * @param swtpmRoot absolute path of libvirt's directory of all domains' TPMs
 * @param procRoot where proc is mounted
 */
export async function listRunningSwtpm(
  swtpmRoot: string,
  procRoot = '/proc',
): Promise<ReadonlySet<DomainUuid>> {
  const running = new Set<DomainUuid>();
  const pids = (await readdir(procRoot)).filter((name) => PROCESS_ID.test(name));
  for (let at = 0; at < pids.length; at += TOGETHER) {
    const group = pids.slice(at, at + TOGETHER);
    for (const words of await Promise.all(group.map((pid) => swtpmArguments(`${procRoot}/${pid}`)))) {
      for (const uuid of words.flatMap((word) => domainsIn(word, `${swtpmRoot}/`))) running.add(uuid);
    }
  }
  return running;
}

/** Empty for any other process. The command line of one that hangs in a page fault cannot be read, so it is not asked of strangers. */
async function swtpmArguments(directory: string): Promise<string[]> {
  if (!SWTPM.test((await textOf(`${directory}/comm`)).trimEnd())) return [];
  return (await textOf(`${directory}/cmdline`)).split('\0').slice(1);
}

/** Empty for a process that has ended meanwhile. */
async function textOf(path: string): Promise<string> {
  return await new Promise((resolve) => {
    readFile(path, 'utf8', (error, text) => {
      resolve(error ? '' : text);
    });
  });
}

function domainsIn(word: string, prefix: string): DomainUuid[] {
  const at = word.indexOf(prefix);
  if (at < 0) return [];
  const uuid = word.slice(at + prefix.length, at + prefix.length + UUID_DIGITS);
  return isDomainUuid(uuid) ? [uuid] : [];
}
