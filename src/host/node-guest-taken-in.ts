/**
 * node-guest-taken-in: whether a domain's QEMU was started to take in a guest from elsewhere, read
 * from its command line in `/proc`: `-incoming` is there for a migration's destination and for a
 * save file that is restored, and for nothing else. libvirt says it in none of its hooks.
 *
 * Asked only of a start that was announced as a migration, when its QEMU runs.
 */
import { readFile, readdir } from 'node:fs/promises';
import type { DomainUuid } from '../model/identifiers.js';

const PROCESS_ID = /^\d+$/;
/** `comm`, which the kernel cuts at 15 characters: `qemu-system-x86_64`, `qemu-kvm`, `kvm`. */
const QEMU = /^\.?(qemu|kvm)/;
/** A process that hangs in a page fault keeps its command line to itself. */
const DEADLINE_MS = 2_000;

/**
 * @param procRoot where proc is mounted
 * @returns `undefined` when no QEMU of that domain is to be seen
 */
export async function takesGuestIn(uuid: DomainUuid, procRoot = '/proc'): Promise<boolean | undefined> {
  const pids = (await readdir(procRoot)).filter((name) => PROCESS_ID.test(name));
  const lines = await Promise.all(pids.map((pid) => qemuArguments(`${procRoot}/${pid}`)));
  const own = lines.find((words) => isOf(words, uuid));
  return own?.includes('-incoming');
}

async function qemuArguments(process: string): Promise<readonly string[]> {
  const comm = await textOf(`${process}/comm`);
  return QEMU.test(comm) ? (await textOf(`${process}/cmdline`)).split('\0') : [];
}

/** Empty for a process that has ended meanwhile, or does not answer. */
async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, { encoding: 'utf8', signal: AbortSignal.timeout(DEADLINE_MS) });
  } catch {
    return '';
  }
}

function isOf(words: readonly string[], uuid: DomainUuid): boolean {
  return words.some((word, at) => word.toLowerCase() === uuid && words[at - 1] === '-uuid');
}
