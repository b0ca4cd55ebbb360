/**
 * machine: what tells this machine from every other, and this boot from the ones before.
 */
import { MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { sha256 } from '../model/hash.js';
import type { MachineMarks } from '../model/host-identity.js';
import { namesIn } from './files.js';
import { orHostError } from './host-error.js';

const MACHINE_ID_PATH = '/etc/machine-id';
const DMI = '/sys/class/dmi/id';
const NETWORK = '/sys/class/net';
/** What vendors leave in place of a serial number or UUID. */
const NO_MARK =
  /^(|[0f-]+|.*o\.?e\.?m\.?.*|default string|none|unknown|not (specified|applicable|available)|system serial number|0123456789|123456789|03000200-0400-0500-0006-000700080009)$/i;
/** Of an address that the card itself has. */
const PERMANENT_ADDRESS = '0';
const MARK_DIGITS = 32;
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';
const LINE_BYTES_MAX = 128;

/** @throws MirrorError `HOST_IO` */
export async function readMachine(fs: FileSystem): Promise<MachineMarks> {
  // The machine id itself must not leave the machine (see machine-id(5)).
  const machineId = await readId(fs, MACHINE_ID_PATH, /^[0-9a-f]{32}$/);
  return {
    machineId: sha256(`swtpm-mirror ${machineId}`).slice(0, MARK_DIGITS),
    hardware: await readHardware(fs),
    bootId: await readId(fs, BOOT_ID_PATH, /^[0-9a-f-]{36}$/),
  };
}

/**
 * What tells this machine from one that runs a copy of its disk: what its firmware says of it or,
 * where that says nothing (most ARM boards), its network cards' own addresses. `''` for nothing.
 */
async function readHardware(fs: FileSystem): Promise<string> {
  const uuid = await readMark(fs, `${DMI}/product_uuid`);
  const serial = await readMark(fs, `${DMI}/product_serial`);
  const marks = uuid === '' && serial === '' ? await cardAddresses(fs) : [uuid, serial];
  return marks.length === 0 ? '' : sha256(`swtpm-mirror hardware ${marks.join(' ')}`).slice(0, MARK_DIGITS);
}

/** Not those of USB: they come and go. */
async function cardAddresses(fs: FileSystem): Promise<string[]> {
  const addresses: string[] = [];
  for (const name of await namesIn(fs, 'machine:readdir', NETWORK).catch(() => [])) {
    const card = `${NETWORK}/${name}`;
    const device = await fs.readlink('machine:readlink', `${card}/device/subsystem`).catch(() => '');
    if (device === '' || device.endsWith('/usb')) continue;
    const assigned = await readLine(fs, `${card}/addr_assign_type`).catch(() => '');
    if (assigned !== PERMANENT_ADDRESS) continue;
    addresses.push(await readMark(fs, `${card}/address`));
  }
  return addresses.filter((address) => address !== '').sort();
}

/** @returns `''` for what says nothing, or cannot be read */
async function readMark(fs: FileSystem, path: string): Promise<string> {
  const text = await readLine(fs, path).catch(() => '');
  return NO_MARK.test(text) ? '' : text;
}

async function readLine(fs: FileSystem, path: string): Promise<string> {
  const file = await fs.open('machine:open', path, 'read');
  try {
    return Buffer.from(await file.read('machine:read', LINE_BYTES_MAX, 0))
      .toString('latin1')
      .trim();
  } finally {
    await file.close('machine:close-read');
  }
}

async function readId(fs: FileSystem, path: string, expected: RegExp): Promise<string> {
  const id = await orHostError(`read ${path}`, () => readLine(fs, path));
  if (expected.test(id)) return id;
  throw new MirrorError('HOST_IO', `cannot read ${path}: found ${id.length} characters that are no id`, {
    next: 'run `systemd-machine-id-setup` if the machine id is missing, then try again',
  });
}
