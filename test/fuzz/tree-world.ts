/**
 * tree-world: a share and a host's directories on a real file system, and beside them a tree that
 * nothing may change and nothing of which may turn up elsewhere.
 *
 *   share/   an initialised share with a volume that has a past, a snapshot, a diverged copy, a run
 *   host/    swtpm's and QEMU's directories, each of its own user where root plays; state directory
 *   canary/  files and directories under every name that the product knows
 */
import { hostNamed } from '../fixtures/host-identity.js';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { systemClock } from '../../src/host/node-environment.js';
import { parseSnapshotName } from '../../src/model/identifiers.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../src/volume/local-share-store.js';
import { readStateBlob } from '../fixtures/state-blobs.js';
import { OTHER_UUID, tpmCapture, UUID } from '../fixtures/tpm-captures.js';
import { diverge, hold, publish } from '../fixtures/volume-steps.js';
import type { SeededRandom } from '../sim/random.js';

export const isRoot = process.getuid?.() === 0;
export const SNAPSHOT = parseSnapshotName('kept');
const SWTPM = 107;
const QEMU = 64055;
const SECRET = 'CANARY-SECRET';
/** Of the canary's own TPM, which is another than the one that is played with. */
const FOREIGN = Buffer.from(readStateBlob('fresh-b.permall').data);
const OWN = Buffer.from(readStateBlob('fresh-a.permall').data);
const FOREIGN_PART = partOfNo(FOREIGN, OWN);
const MEMORY = fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export class TreeWorld {
  readonly root: string;
  readonly #template: string;
  readonly #canaryDigest: string;
  readonly #canaryInodes: ReadonlySet<number>;

  private constructor(root: string) {
    this.root = root;
    this.#template = join(root, 'template');
    this.#canaryDigest = digestOf(this.canary);
    const files = entriesOf(this.canary).filter((path) => fs.lstatSync(path).isFile());
    this.#canaryInodes = new Set(files.map((path) => fs.lstatSync(path).ino));
  }

  static async make(random: SeededRandom): Promise<TreeWorld> {
    const root = fs.mkdtempSync(join(MEMORY, 'trees-'));
    fs.mkdirSync(join(root, 'template'));
    await makeShare(join(root, 'template', 'share'), random);
    makeHost(join(root, 'template', 'host'));
    makeCanary(join(root, 'canary'));
    const world = new TreeWorld(root);
    world.reset();
    return world;
  }

  get share(): string {
    return join(this.root, 'share');
  }

  get host(): string {
    return join(this.root, 'host');
  }

  get canary(): string {
    return join(this.root, 'canary');
  }

  get swtpmRoot(): string {
    return join(this.host, 'swtpm');
  }

  get nvramPath(): string {
    return join(this.host, 'qemu', 'nvram', 'vm_VARS.fd');
  }

  /** An empty directory of another user, which somebody names in a command. */
  get givenDirectory(): string {
    return join(this.host, 'qemu', 'given');
  }

  get stateDirectory(): string {
    return join(this.host, 'state');
  }

  /** Share and host as they were made. */
  reset(): void {
    for (const name of ['share', 'host']) {
      fs.rmSync(join(this.root, name), { recursive: true, force: true });
      copyTree(join(this.#template, name), join(this.root, name));
    }
  }

  /** Everything that has a name on the share and on the host. */
  entries(): string[] {
    return [this.share, this.host].flatMap((root) => [root, ...entriesOf(root)]);
  }

  /** @returns what went wrong, if anything did */
  violation(): string | undefined {
    if (digestOf(this.canary) !== this.#canaryDigest) return 'the canary is not whole';
    for (const path of this.entries()) {
      const stat = fs.lstatSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile() || stat.size > 1e7 || this.#canaryInodes.has(stat.ino)) continue;
      if (showsCanary(fs.readFileSync(path))) return `${path} holds something of the canary`;
    }
    return undefined;
  }

  close(): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

async function makeShare(root: string, random: SeededRandom): Promise<void> {
  const common = { fs: new NodeFileSystem(), root, clock: systemClock, random };
  for (const host of ['kvm-b', 'kvm-a']) {
    const store = createLocalShareStore({ ...common, self: hostNamed(host) });
    if (host === 'kvm-b') await store.initialise({});
    await store.beat({ shareId: undefined });
    if (host === 'kvm-b') continue;
    const held = await hold(store);
    for (const number of [1, 2, 3]) await publish(held, number);
    await store.pin({ uuid: UUID, name: SNAPSHOT, slot: 'head' });
    await diverge(held, 9);
    await store.placeLive({ uuid: UUID, live: held.epoch, capture: tpmCapture(3) });
  }
}

function makeHost(root: string): void {
  const swtpm = join(root, 'swtpm', UUID, 'tpm2');
  const nvram = join(root, 'qemu', 'nvram');
  const given = join(root, 'qemu', 'given');
  for (const path of [swtpm, nvram, given, join(root, 'state'), join(root, 'run')]) {
    fs.mkdirSync(path, { recursive: true });
  }
  fs.writeFileSync(join(swtpm, 'tpm2-00.permall'), readStateBlob('fresh-a.permall').data);
  fs.writeFileSync(join(nvram, 'vm_VARS.fd'), 'variables');
  if (!isRoot) return;
  for (const path of [swtpm, join(swtpm, 'tpm2-00.permall')]) fs.chownSync(path, SWTPM, SWTPM);
  for (const path of [dirname(nvram), nvram, given, join(nvram, 'vm_VARS.fd')]) {
    fs.chownSync(path, QEMU, QEMU);
  }
}

const CANARY_DIRECTORIES = ['log', 'gen', 'pins', 'diverged', 'live/00000001/tpm2', 'tpm2', 'nvram'];
const CANARY_FILES = ['heartbeat', 'host.json', 'vm_VARS.fd', 'tpm2-00.permall', 'kept.tar.gz'];

function makeCanary(root: string): void {
  for (const directory of ['', ...CANARY_DIRECTORIES, `volumes/${UUID}/log`, 'hosts/kvm-a']) {
    fs.mkdirSync(join(root, directory), { recursive: true });
    for (const name of CANARY_FILES) {
      fs.writeFileSync(join(root, directory, name), name.endsWith('.permall') ? FOREIGN : SECRET);
    }
  }
  fs.symlinkSync('claim?host=kvm-z&token=0123456789abcdef', join(root, 'log', '00000001'));
}

/** As many bytes of `data` as are nowhere in `other`. */
function partOfNo(data: Buffer, other: Buffer): Buffer {
  for (let at = 0; ; at += 16) {
    const part = data.subarray(at, at + 32);
    if (!other.includes(part)) return part;
  }
}

/** With owners, modes, hard links as files of their own, and links as they are. */
function copyTree(from: string, to: string): void {
  const stat = fs.lstatSync(from);
  if (stat.isSymbolicLink()) {
    fs.symlinkSync(fs.readlinkSync(from), to);
    return;
  }
  if (stat.isDirectory()) {
    fs.mkdirSync(to);
    for (const name of fs.readdirSync(from)) copyTree(join(from, name), join(to, name));
  } else {
    fs.copyFileSync(from, to);
  }
  if (isRoot) fs.chownSync(to, stat.uid, stat.gid);
  fs.chmodSync(to, stat.mode & 0o7777);
}

/** Below `root`, in no link and nothing that cannot be listed. */
function entriesOf(root: string): string[] {
  if (!fs.lstatSync(root, { throwIfNoEntry: false })?.isDirectory()) return [];
  let names: string[];
  try {
    names = fs.readdirSync(root);
  } catch {
    return [];
  }
  return names.flatMap((name) => [join(root, name), ...entriesOf(join(root, name))]);
}

/** Of everything but the number of names, which a planted hard link changes. */
function digestOf(root: string): string {
  const hash = createHash('sha256');
  for (const path of entriesOf(root)) {
    const { mode, uid, gid, mtimeMs } = fs.lstatSync(path);
    hash.update(`${path} ${mode} ${uid} ${gid} ${mtimeMs}\n`);
    if ((mode & fs.constants.S_IFMT) === fs.constants.S_IFREG) hash.update(fs.readFileSync(path));
  }
  return hash.digest('hex');
}

function showsCanary(data: Buffer): boolean {
  if (data.includes(SECRET) || data.includes(FOREIGN_PART)) return true;
  if (data[0] !== 0x1f || data[1] !== 0x8b) return false;
  try {
    const unpacked = gunzipSync(data);
    return unpacked.includes(SECRET) || unpacked.includes(FOREIGN_PART);
  } catch {
    return false;
  }
}

export const UUIDS = [UUID, UUID, UUID, OTHER_UUID] as const;
