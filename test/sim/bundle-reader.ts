/**
 * bundle-reader: the oracle's own reading of a generation: gunzip, tar headers, the manifest, the TPM's file. It shares no code with what it judges.
 */
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';

export interface ReadBundle {
  readonly reason: string;
  readonly host: string;
  readonly slot: number;
  readonly epoch: number;
  /** Content of `tpm2/tpm2-00.permall`. */
  readonly permall: Uint8Array;
  readonly nvram: ReadNvram | undefined;
}

/** The firmware's variables, as far as a bundle says. */
export interface ReadNvram {
  readonly sha256: string;
  /** The generation that has them, where that is another one. */
  readonly in: string | undefined;
  /** They are in the bundle, and what it says. */
  readonly isHere: boolean;
}

const BLOCK_BYTES = 512;
const PERMALL = 'tpm2/tpm2-00.permall';
const NVRAM = 'nvram/nvram.fd';
const cache = new WeakMap<Uint8Array, ReadBundle | undefined>();

/** `undefined` unless the archive is whole. Contents are immutable, so each is read once. */
export function readBundle(archive: Uint8Array): ReadBundle | undefined {
  if (!cache.has(archive)) cache.set(archive, read(archive));
  return cache.get(archive);
}

function read(archive: Uint8Array): ReadBundle | undefined {
  try {
    const entries = tarEntries(gunzipSync(archive));
    const permall = entries.get(PERMALL);
    const manifest: unknown = JSON.parse(Buffer.from(entries.get('manifest.json') ?? '').toString());
    const nvram = readNvram(manifest, entries.get(NVRAM));
    if (!permall || typeof manifest !== 'object' || manifest === null) return undefined;
    const { reason, host, slot, epoch } = manifest as Record<string, unknown>;
    return {
      reason: String(reason),
      host: String(host),
      slot: Number(slot),
      epoch: Number(epoch),
      permall,
      nvram,
    };
  } catch {
    return undefined;
  }
}

function readNvram(manifest: unknown, content: Uint8Array | undefined): ReadNvram | undefined {
  const { files } = manifest as { files: { role: string; sha256: string; in?: string }[] };
  const file = files.find(({ role }) => role === 'nvram');
  if (!file) return undefined;
  const isHere = content !== undefined && createHash('sha256').update(content).digest('hex') === file.sha256;
  return { sha256: file.sha256, in: file.in, isHere };
}

function tarEntries(tar: Buffer): Map<string, Uint8Array> {
  const entries = new Map<string, Uint8Array>();
  for (let at = 0; tar[at];) {
    const name = tar.toString('latin1', at, at + 100).replace(/\0.*$/s, '');
    const size = parseInt(tar.toString('latin1', at + 124, at + 136), 8);
    const start = at + BLOCK_BYTES;
    if (start + size > tar.length) throw new RangeError(`${name} is cut off`);
    entries.set(name, tar.subarray(start, start + size));
    at = start + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return entries;
}
