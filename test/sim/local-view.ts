/**
 * local-view: what lies on a simulated host's disk, past every cache and program: the TPM's file, the spool, the journal.
 */
import { readBundle } from './bundle-reader.js';
import type { DirectoryInode, Inode } from './inode.js';
import type { TpmLedger, TpmState } from './tpm.js';

export const STATE_DIRECTORY = '/var/lib/swtpm-mirror';
export const SWTPM_DIRECTORY = '/var/lib/libvirt/swtpm';
export const PERMALL = 'tpm2-00.permall';

interface KnownRecord {
  readonly phase: unknown;
  readonly holding: unknown;
  readonly finalTpm: unknown;
}

export class LocalView {
  readonly #root: DirectoryInode;
  readonly #ledger: TpmLedger;

  constructor(root: DirectoryInode, ledger: TpmLedger) {
    this.#root = root;
    this.#ledger = ledger;
  }

  /** The domain's TPM file, if it is there. */
  permall(uuid: string): Uint8Array | undefined {
    const file = this.#find(`${SWTPM_DIRECTORY}/${uuid}/tpm2/${PERMALL}`);
    return file?.kind === 'file' ? file.data : undefined;
  }

  /** The state in it, when it is whole. */
  state(uuid: string): TpmState | undefined {
    const data = this.permall(uuid);
    return data && this.#ledger.stateOf(data);
  }

  spooled(uuid: string): TpmState[] {
    const directory = this.#find(`${STATE_DIRECTORY}/spool/${uuid}`);
    if (directory?.kind !== 'directory') return [];
    return [...directory.entries].flatMap(([name, inode]) => {
      const bundle = inode.kind === 'file' && !name.startsWith('.') ? readBundle(inode.data) : undefined;
      const state = bundle && this.#ledger.stateOf(bundle.permall);
      return state ? [state] : [];
    });
  }

  /** States of which a copy was kept in the host's state directory, because nothing could store them. */
  keptAside(uuid: string): TpmState[] {
    const directory = this.#find(`${STATE_DIRECTORY}/set-aside/${uuid}`);
    if (directory?.kind !== 'directory') return [];
    return filesNamed(directory, PERMALL).flatMap((data) => this.#ledger.stateOf(data) ?? []);
  }

  /** Digest of the TPM that the last run here left, as far as the journal knows it. */
  finalTpm(uuid: string): string | undefined {
    const record = this.journal(uuid);
    return record?.phase === 'stopped' && typeof record.finalTpm === 'string' ? record.finalTpm : undefined;
  }

  /** The journal's record, `undefined` when there is none that can be read. */
  journal(uuid: string): KnownRecord | undefined {
    const file = this.#find(`${STATE_DIRECTORY}/journal/${uuid}.json`);
    if (file?.kind !== 'file') return undefined;
    try {
      return JSON.parse(Buffer.from(file.data).toString()) as KnownRecord;
    } catch {
      return undefined;
    }
  }

  #find(path: string): Inode | undefined {
    let at: Inode | undefined = this.#root;
    for (const name of path.split('/').filter(Boolean)) {
      at = at?.kind === 'directory' ? at.entries.get(name) : undefined;
    }
    return at;
  }
}

function filesNamed(directory: DirectoryInode, wanted: string): Uint8Array[] {
  return [...directory.entries].flatMap(([name, inode]) => {
    if (inode.kind === 'directory') return filesNamed(inode, wanted);
    return inode.kind === 'file' && name === wanted ? [inode.data] : [];
  });
}
