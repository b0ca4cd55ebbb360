/**
 * marker: the file that tells a share from an empty mount point and from another share.
 *
 * It is made once, by `initialise`; nothing of it ever changes but the escrow recipient (`setEscrow`). A path without it is never written to: an export that is not mounted looks
 * like an empty directory, and every VM would seem to have no state.
 */
import { dirname } from 'node:path';
import { errnoOf, MirrorError } from '../model/errors.js';
import { TRIAL_PREFIX, tryNewShare } from './examine.js';
import { isDamage } from './fetch.js';
import { ensureDirectory, readWhole, writeWhole } from './files.js';
import { shareError } from './share-errors.js';
import { expectFitShare } from './share-fitness.js';
import {
  DIRECTORY_MODE,
  hostsPath,
  markerPath,
  newToken,
  TEMPORARY_PREFIX,
  timestamp,
  volumesPath,
  type ShareContext,
} from './share-context.js';
import type { ShareIdentity } from './share-store.js';

/** Latest version of the layout on the share that this program reads and writes. */
export const SHARE_FORMAT = 2;
const PLAIN_FORMAT = 1;
/** With an escrow recipient: a program that does not know of it must not write there. */
const ESCROW_FORMAT = 2;
const RECIPIENT = /^age1[a-z0-9-]+$/;
const MARKER_BYTES_MAX = 4096;
const MARKER_TEMPORARY = `${TEMPORARY_PREFIX}marker-`;
/** What a file system's own root may hold beside us. */
const TOLERATED = new Set(['lost+found']);

/**
 * Reads the marker.
 *
 * @throws MirrorError `SHARE_NOT_INITIALIZED`, `SHARE_WRONG` (another id), `SHARE_VERSION` (newer format)
 */
export async function verifyMarker(
  context: ShareContext,
  expectedId: string | undefined,
): Promise<ShareIdentity> {
  const identity = await readMarker(context);
  if (expectedId !== undefined && identity.id !== expectedId) {
    throw new MirrorError(
      'SHARE_WRONG',
      `${context.root} is share ${identity.id}, but this host's state belongs to share ${expectedId}`,
      { next: 'mount the right export there; nothing was read from this one or written to it' },
    );
  }
  return identity;
}

async function readMarker(context: ShareContext): Promise<ShareIdentity> {
  const path = markerPath(context);
  let text: string;
  try {
    text = new TextDecoder().decode(await readWhole(context.fs, 'marker', path, MARKER_BYTES_MAX));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw notInitialised(context.root);
    if (isDamage(error)) throw damagedMarker(path);
    throw shareError('read the share marker', error);
  }
  const fields = parseObject(text);
  const { format, id, createdAt, escrow } = fields;
  if (typeof format === 'number' && format > SHARE_FORMAT) {
    throw new MirrorError(
      'SHARE_VERSION',
      `${context.root} has share format ${String(format)}, this program reads up to ${String(SHARE_FORMAT)}`,
      { next: `upgrade swtpm-mirror on this host to a version that reads share format ${String(format)}` },
    );
  }
  const isKnown = format === (escrow === undefined ? PLAIN_FORMAT : ESCROW_FORMAT);
  if (!isKnown || typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id) || !isRecipient(escrow)) {
    throw damagedMarker(path);
  }
  return {
    id,
    format: Number(format),
    createdAt: typeof createdAt === 'string' ? createdAt : '',
    ...(escrow !== undefined && { escrow }),
  };
}

function damagedMarker(path: string): MirrorError {
  return new MirrorError('VOLUME_DAMAGED', `the share marker ${path} is damaged`, {
    next: 'restore the marker from a backup of the share; do not initialise the share again',
  });
}

function isRecipient(escrow: unknown): escrow is string | undefined {
  return escrow === undefined || (typeof escrow === 'string' && RECIPIENT.test(escrow));
}

/**
 * Changes the escrow recipient: written aside, then renamed over the marker. What lies on the share already stays as it is; `reseal` writes it anew.
 *
 * @throws MirrorError `SHARE_NOT_INITIALIZED`
 */
export async function setEscrow(
  context: ShareContext,
  { escrow }: { readonly escrow: string | undefined },
): Promise<ShareIdentity> {
  const { fs, root } = context;
  const { id, createdAt } = await readMarker(context);
  const temporary = `${root}/${MARKER_TEMPORARY}${newToken(context)}`;
  try {
    await writeWhole(fs, 'escrow', temporary, markerText({ id, createdAt, escrow }));
    await fs.rename('escrow:rename', temporary, markerPath(context));
    await fs.syncDirectory('escrow:sync', root);
  } catch (error) {
    await fs.unlink('escrow:unlink', temporary).catch(() => undefined);
    throw shareError('write the share marker', error);
  }
  return await readMarker(context);
}

function markerText({ id, createdAt, escrow }: Omit<ShareIdentity, 'format'>): Uint8Array {
  const format = escrow === undefined ? PLAIN_FORMAT : ESCROW_FORMAT;
  return new TextEncoder().encode(`${JSON.stringify({ id, format, createdAt, escrow })}\n`);
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function notInitialised(root: string): MirrorError {
  return new MirrorError('SHARE_NOT_INITIALIZED', `${root} has no share marker (swtpm-mirror.json)`, {
    next: `check that the export is mounted there, and mount it anew if another one was there for a while; for a new share run \`swtpm-mirror share init ${root}\` once`,
  });
}

/**
 * initialise: make an empty or new directory a share.
 *
 *   P1 make `hosts/` and `volumes/`   a crash leaves two empty directories, which the next run accepts
 *   P2 try what the protocol needs    a share that lacks it never becomes one
 *   P3 write the marker aside         nobody reads it
 *   P4 link it to its name            the commit: exclusive, so two hosts make one share
 *
 * @throws MirrorError `USAGE` when the directory holds anything else or is a share already;
 *   `SHARE_UNAVAILABLE` when the file system does not do what the protocol needs
 */
export async function initialise(
  context: ShareContext,
  { escrow }: { readonly escrow?: string | undefined } = {},
): Promise<ShareIdentity> {
  const { fs, root } = context;
  try {
    await ensureDirectory(fs, 'init', dirname(root), root, DIRECTORY_MODE);
    expectFitShare(root, await fs.statfs('init:statfs', root));
    const leftovers = await refuseOccupied(context);
    for (const path of [hostsPath(context), volumesPath(context)]) {
      await fs.mkdir('init:mkdir', path, DIRECTORY_MODE).catch(unless('EEXIST'));
    }
    refuseUnsuitable(root, await tryNewShare(context));
    const identity = { id: context.random.hex(16), createdAt: timestamp(context), escrow };
    const temporary = `${root}/${MARKER_TEMPORARY}${newToken(context)}`;
    await writeWhole(fs, 'init', temporary, markerText(identity));
    await fs.syncDirectory('init:sync-before', root);
    // EEXIST: another host was quicker, or our own reply was lost. ENOENT: the quicker one took our file for a leftover.
    await fs.link('init:link', temporary, markerPath(context)).catch(unless('EEXIST', 'ENOENT'));
    for (const path of [...leftovers, temporary]) {
      await fs.unlink('init:unlink', path).catch(unless('ENOENT'));
    }
    await fs.syncDirectory('init:sync', root);
    // Read back: it may be another's.
    return await readMarker(context);
  } catch (error) {
    throw shareError(`initialise ${root}`, error);
  }
}

/** @returns paths of marker files that an interrupted run left */
async function refuseOccupied(context: ShareContext): Promise<string[]> {
  const { fs, root } = context;
  const leftovers: string[] = [];
  const names = await fs.readdir('init:readdir', root).catch((error: unknown) => {
    throw errnoOf(error) === 'ENOTDIR' ? noDirectory(root) : error;
  });
  if (names.includes('swtpm-mirror.json')) {
    const { id } = await readMarker(context);
    // Said only of what is durable: whoever linked it may have died before this.
    await fs.syncDirectory('init:sync', root);
    throw new MirrorError('USAGE', `${root} is a share already (id ${id})`, {
      next: 'use it as it is: set `share` to this directory in the configuration',
    });
  }
  for (const name of names) {
    const path = `${root}/${name}`;
    if (name.startsWith(MARKER_TEMPORARY)) leftovers.push(path);
    else if (!TOLERATED.has(name) && !(await isOurEmptyDirectory(context, name))) throw occupied(root, name);
  }
  return leftovers;
}

async function isOurEmptyDirectory({ fs, root }: ShareContext, name: string): Promise<boolean> {
  if (name !== 'hosts' && name !== 'volumes') return false;
  const names = await fs.readdir('init:readdir', `${root}/${name}`);
  // A trial whose program was killed, or one that another host makes at this moment.
  return names.every((inside) => name === 'hosts' && inside.startsWith(TRIAL_PREFIX));
}

function refuseUnsuitable(root: string, faults: readonly string[]): void {
  if (faults.length === 0) return;
  throw new MirrorError(
    'SHARE_UNAVAILABLE',
    `the file system at ${root} does not do what a share must: ${faults.join('; ')}`,
    { next: 'choose another file system (NFS, CephFS, a local disk): this one would lose state' },
  );
}

function noDirectory(root: string): MirrorError {
  return new MirrorError('USAGE', `${root} is not a directory`, {
    next: 'give a new or empty directory on the shared storage',
  });
}

function occupied(root: string, name: string): MirrorError {
  return new MirrorError('USAGE', `${root} is not empty: it holds ${JSON.stringify(name)}`, {
    next: 'give a new or empty directory on the shared storage',
  });
}

function unless(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes(errnoOf(error) ?? '')) throw error;
  };
}
