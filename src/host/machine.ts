/**
 * machine: what tells this machine from every other, and this boot from the ones before.
 */
import { MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { sha256 } from '../model/hash.js';
import { orHostError } from './host-error.js';

export interface Machine {
  /** 32 hexadecimal digits, derived from `/etc/machine-id`: that id itself must not leave the machine (see machine-id(5)). */
  readonly machineId: string;
  readonly bootId: string;
}

const MACHINE_ID_PATH = '/etc/machine-id';
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';
const LINE_BYTES_MAX = 128;

/** @throws MirrorError `HOST_IO` */
export async function readMachine(fs: FileSystem): Promise<Machine> {
  return {
    machineId: sha256(`swtpm-mirror ${await readId(fs, MACHINE_ID_PATH, /^[0-9a-f]{32}$/)}`).slice(0, 32),
    bootId: await readId(fs, BOOT_ID_PATH, /^[0-9a-f-]{36}$/),
  };
}

async function readId(fs: FileSystem, path: string, expected: RegExp): Promise<string> {
  const text = await orHostError(`read ${path}`, async () => {
    const file = await fs.open('machine:open', path, 'read');
    try {
      return Buffer.from(await file.read('machine:read', LINE_BYTES_MAX, 0)).toString('latin1');
    } finally {
      await file.close('machine:close-read');
    }
  });
  const id = text.trim();
  if (expected.test(id)) return id;
  throw new MirrorError('HOST_IO', `cannot read ${path}: found ${id.length} characters that are no id`, {
    next: 'run `systemd-machine-id-setup` if the machine id is missing, then try again',
  });
}
