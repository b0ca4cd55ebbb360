/**
 * ovirt: a domain's TPM and NVRAM as oVirt's engine keeps them in its database and in OVF descriptors: text.
 *
 *   TPM     base64 of a tar.xz of libvirt's directory of the domain: `./tpm2/tpm2-00.permall`, …
 *   NVRAM   `=0=`, then base64 of the file compressed with bzip2
 *
 * So vdsm writes them (lib/vdsm/virt/filedata.py). It reads either of them with or without `=0=` and bzip2, and with line breaks;
 * so does this.
 */
import { pack } from 'tar-stream';
import { wholeContent } from '../model/content.js';
import {
  isStateFileName,
  isTpmRole,
  NVRAM_FILE_NAME,
  STATE_FILE_BYTES_MAX,
  type Capture,
  type FileRole,
  type StateFile,
} from '../model/capture.js';
import { MirrorError } from '../model/errors.js';
import { contentDigest, sha256 } from '../model/hash.js';
import type { DomainUuid } from '../model/identifiers.js';
import { tarEntries, TarError, type TarEntry } from './tar-reader.js';

export type Compression = 'xz' | 'bzip2';

/** @throws MirrorError `GENERATION_DAMAGED` for data that does not unpack, or to more than `bytesMax`; `HOST_IO` when it cannot be done here */
export interface Compressor {
  compress(kind: Compression, data: Uint8Array): Promise<Uint8Array>;
  decompress(kind: Compression, data: Uint8Array, bytesMax: number): Promise<Uint8Array>;
}

export interface OvirtData {
  readonly tpm: string;
  readonly nvram?: string | undefined;
}

const BZIP2_MARK = '=0=';
const TAR_BYTES_MAX = 4 * STATE_FILE_BYTES_MAX;
/** Largest text that is taken: what does not compress, in base64. */
export const OVIRT_TEXT_BYTES_MAX = 2 * TAR_BYTES_MAX;
/** A directory of a domain's has five or six. */
const ENTRIES_MAX = 256;
const SWTPM_USER = 'tss';
const FILE_MODE = 0o600;

export async function encodeOvirt({ files }: Capture, compressor: Compressor): Promise<OvirtData> {
  const nvram = files.find((file) => file.role === 'nvram');
  const tar = await tarOf(files.filter((file) => isTpmRole(file.role)));
  return {
    tpm: base64(await compressor.compress('xz', tar)),
    nvram: nvram && BZIP2_MARK + base64(await compressor.compress('bzip2', wholeContent(nvram))),
  };
}

/** @throws MirrorError `GENERATION_DAMAGED`; whether the state in it is valid is for the caller to check */
export async function decodeOvirt(
  uuid: DomainUuid,
  { tpm, nvram }: OvirtData,
  compressor: Compressor,
): Promise<Capture> {
  const packed = await unwrap('TPM', tpm, compressor, TAR_BYTES_MAX);
  const files = stateFilesOf(await compressor.decompress('xz', packed, TAR_BYTES_MAX));
  if (files.length === 0) throw damaged('its TPM data holds no state file of swtpm');
  if (nvram !== undefined) {
    const data = await unwrap('NVRAM', nvram, compressor, STATE_FILE_BYTES_MAX);
    files.push(stateFile('nvram', NVRAM_FILE_NAME, data, 0n));
  }
  return { uuid, files, digest: contentDigest(files), identity: undefined };
}

async function tarOf(files: readonly StateFile[]): Promise<Uint8Array> {
  const tar = pack();
  const common = { uname: SWTPM_USER, gname: SWTPM_USER, mtime: new Date(0) };
  tar.entry({ ...common, name: './', type: 'directory', mode: 0o711 });
  for (const role of new Set(files.map((file) => file.role))) {
    tar.entry({ ...common, name: `./${role}/`, type: 'directory', mode: 0o700 });
    for (const file of files.filter((each) => each.role === role)) {
      const mtime = new Date(Number(file.mtimeNs / 1_000_000n));
      tar.entry(
        { ...common, name: `./${role}/${file.name}`, mode: FILE_MODE, mtime },
        Buffer.from(file.data),
      );
    }
  }
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The state files of a tar archive; whatever else is in it, such as swtpm's lock, is passed over. */
function stateFilesOf(tar: Uint8Array): StateFile[] {
  const files = new Map<string, StateFile>();
  try {
    let count = 0;
    for (const entry of tarEntries(tar)) {
      if (++count > ENTRIES_MAX) throw damaged(`its TPM data has more than ${ENTRIES_MAX} entries`);
      const file = stateFileOf(entry);
      if (file) files.set(`${file.role}/${file.name}`, file);
    }
  } catch (error) {
    if (!(error instanceof TarError)) throw error;
    throw damaged(`its TPM data is no tar archive (${error.message})`);
  }
  return [...files.values()].sort((a, b) => (`${a.role}/${a.name}` < `${b.role}/${b.name}` ? -1 : 1));
}

/** @returns `undefined` for what is no state file */
function stateFileOf({ name, kind, size, mtimeSeconds, content }: TarEntry): StateFile | undefined {
  const [role = '', file = '', ...deeper] = name.replace(/^\.\//, '').split('/');
  // Some programs read what follows as its content, and some as the next entry.
  if (kind !== 'file' && size !== 0) {
    throw damaged(`one of its entries is a ${kind ?? 'special file'} with content`);
  }
  if (!isTpmRoleName(role) || !isStateFileName(role, file) || deeper.length > 0) return undefined;
  if (kind !== 'file') throw damaged(`its ${role}/${file} is a ${kind ?? 'special file'}, not a file`);
  const data = content();
  if (data.length > STATE_FILE_BYTES_MAX) throw damaged(`its ${role}/${file} has ${data.length} bytes`);
  return stateFile(role, file, data, BigInt(mtimeSeconds) * 1_000_000_000n);
}

function isTpmRoleName(text: string): text is 'tpm2' | 'tpm1.2' {
  return text === 'tpm2' || text === 'tpm1.2';
}

function stateFile(role: FileRole, name: string, data: Uint8Array, mtimeNs: bigint): StateFile {
  return { role, name, mode: FILE_MODE, mtimeNs, data, sha256: sha256(data) };
}

async function unwrap(
  what: string,
  text: string,
  compressor: Compressor,
  bytesMax: number,
): Promise<Uint8Array> {
  const plain = text.replaceAll(/\s/g, '');
  const mark = /^=(.)=/.exec(plain);
  if (mark && mark[0] !== BZIP2_MARK) {
    throw damaged(`its ${what} data has an encoding that is not known here`);
  }
  const body = plain.slice(mark?.[0].length ?? 0);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body)) throw damaged(`its ${what} data is not base64`);
  const data = Buffer.from(body, 'base64');
  return mark ? await compressor.decompress('bzip2', data, bytesMax) : data;
}

function base64(data: Uint8Array): string {
  return Buffer.from(data).toString('base64');
}

function damaged(fault: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot read oVirt's data: ${fault}`, {
    next: 'give the text as the engine has it, for instance from its database or an OVF descriptor',
  });
}
