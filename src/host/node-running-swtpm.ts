/**
 * node-running-swtpm: which domains have a running swtpm on this host, read from `/proc`.
 *
 * A domain's swtpm is told by its command line, which names its state directory (`--tpmstate dir=<swtpm_dir>/<uuid>/tpm2,…`). That holds
 * for libvirt and for everybody who starts swtpm by hand, and asks nobody who could be restarting just now. The state's
 * `.lock` is no use: it stays when swtpm has gone.
 */
import { readFile } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';

const PROCESS_ID = /^\d+$/;
const UUID_DIGITS = 36;
/** Command lines read at a time: one by one, waiting for threads would cost more than reading. */
const TOGETHER = 64;
/** `comm` of swtpm's forms: `swtpm`, `swtpm_cuse`; not of `swtpm_setup`, which works on a TPM that is not in use yet. */
const SWTPM = /(^|\/)swtpm(_cuse)?$/;

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
    for (const words of await Promise.all(group.map((pid) => commandLine(`${procRoot}/${pid}/cmdline`)))) {
      if (!SWTPM.test(words[0] ?? '')) continue;
      for (const uuid of words.slice(1).flatMap((word) => domainsIn(word, `${swtpmRoot}/`))) {
        running.add(uuid);
      }
    }
  }
  return running;
}

/** Empty for a process that has ended meanwhile, and for a kernel thread. */
async function commandLine(path: string): Promise<string[]> {
  return await new Promise((resolve) => {
    readFile(path, 'utf8', (error, text) => {
      resolve(error ? [] : text.split('\0'));
    });
  });
}

function domainsIn(word: string, prefix: string): DomainUuid[] {
  const at = word.indexOf(prefix);
  if (at < 0) return [];
  const uuid = word.slice(at + prefix.length, at + prefix.length + UUID_DIGITS);
  return isDomainUuid(uuid) ? [uuid] : [];
}
