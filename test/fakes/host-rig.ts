/**
 * host-rig: a host's directories in a temporary directory, with real state files to put into them.
 */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeCapture } from '../../src/bundle/archive.js';
import type { Manifest } from '../../src/bundle/manifest.js';
import { domainPaths, type DomainPaths } from '../../src/host/domain-paths.js';
import type { HostContext } from '../../src/host/host-context.js';
import {
  compareStateFiles,
  isTpmRole,
  type Capture,
  type FileRole,
  type StateFile,
} from '../../src/model/capture.js';
import type { Clock, Random } from '../../src/model/environment.js';
import type { FileSystem } from '../../src/model/filesystem.js';
import { contentDigest, sha256 } from '../../src/model/hash.js';
import { parseDomainUuid, parseHostName, type DomainUuid } from '../../src/model/identifiers.js';
import { validateStateFile } from '../../src/model/swtpm-blob.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';

export const UUID = parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d');
export const OTHER_UUID = parseDomainUuid('11111111-2222-4333-8444-555555555555');

/** Nothing here outlives a power loss, and syncing to a disk takes long. */
const MEMORY = '/dev/shm';

const BLOBS = new URL('../fixtures/blobs/', import.meta.url);

/** A file of `test/fixtures/blobs`, such as `used.permall`. */
export function blob(name: string): Buffer {
  return readFileSync(new URL(name, BLOBS));
}

export interface HostRig {
  readonly context: HostContext;
  readonly swtpmRoot: string;
  readonly paths: DomainPaths;
  readonly nvramPath: string;
  withFileSystem(fs: FileSystem): HostContext;
}

/** Numbers in order instead of randomness. */
function countingRandom(): Random {
  let count = 0;
  return {
    hex: (length) => (++count).toString(16).padStart(2 * length, '0'),
    fraction: () => 0.5,
  };
}

/** Time that passes at once: a sleep runs `onSleep` and is over. */
export function instantClock(onSleep: () => Promise<void> = () => Promise.resolve()): Clock {
  let elapsedMs = 0;
  return {
    nowMs: () => Date.parse('2026-01-01T00:00:00Z') + elapsedMs,
    monotonicMs: () => elapsedMs,
    after: (delayMs, callback) => {
      elapsedMs += delayMs;
      void onSleep().then(callback);
      return () => undefined;
    },
  };
}

export async function makeHost(t: { teardown(work: () => Promise<void>): void }): Promise<HostRig> {
  const root = await mkdtemp(join(MEMORY, 'host-rig-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const swtpmRoot = join(root, 'swtpm');
  const nvramPath = join(root, 'nvram', 'vm_VARS.fd');
  for (const directory of ['swtpm', 'nvram', 'state']) await mkdir(join(root, directory));
  const context = {
    fs: new NodeFileSystem(),
    clock: instantClock(),
    random: countingRandom(),
    stateDirectory: join(root, 'state'),
  };
  const paths = domainPaths(swtpmRoot, UUID, nvramPath);
  return { context, swtpmRoot, paths, nvramPath, withFileSystem: (fs) => ({ ...context, fs }) };
}

export type Contents = Readonly<Record<string, Uint8Array | string>>;

/** Writes files below `root`, making their directories. */
export async function put(root: string, contents: Contents): Promise<void> {
  for (const [path, data] of Object.entries(contents)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), data);
  }
}

/** Every file and empty directory below `root`, by relative path; a file as the SHA-256 of its content. */
export async function tree(root: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(root, { withFileTypes: true })) {
    const path = join(root, entry.name);
    if (!entry.isDirectory()) {
      found[entry.name] = entry.isFile() ? sha256(await readFile(path)) : 'not a file';
      continue;
    }
    const inner = Object.entries(await tree(path));
    if (inner.length === 0) found[`${entry.name}/`] = 'empty directory';
    for (const [name, content] of inner) found[`${entry.name}/${name}`] = content;
  }
  return found;
}

/** A capture of these files, by `role/name`. */
export function captureOf(contents: Contents, uuid: DomainUuid = UUID): Capture {
  let identity: string | undefined;
  const files = Object.entries(contents).map(([path, content]): StateFile => {
    const [role, name] = path.split('/') as [FileRole, string];
    const data = Buffer.from(content);
    if (isTpmRole(role)) identity ??= validateStateFile(role, name, data).identity;
    return { role, name, mode: 0o600, mtimeNs: 0n, data, sha256: sha256(data) };
  });
  return { uuid, files: files.sort(compareStateFiles), digest: contentDigest(files), identity };
}

export function manifestOf(capture: Capture): Manifest {
  return describeCapture(capture, {
    name: 'vm',
    slot: 0,
    epoch: 0,
    parent: 0,
    host: parseHostName('kvm-a'),
    bootId: '',
    time: '2026-01-01T00:00:00Z',
    reason: 'change',
    swtpm: '',
    libtpms: '',
  });
}

/** What a promise was rejected with, by its code. */
export async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => 'resolved',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  );
}
