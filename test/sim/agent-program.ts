/**
 * agent-program: one life of the real agent, or of a command that does its work, on a simulated host: `AgentContext` wired as main.ts wires it, over the
 * host's disk, mount and clock.
 */
import type { AgentContext, ChangeSource, RunMetadataWriter } from '../../src/agent/agent-context.js';
import { hostStateFiles } from '../../src/agent/state-files.js';
import { referring } from '../../src/agent/share/part-references.js';
import { FileJournal } from '../../src/host/journal.js';
import { FileKnownShare } from '../../src/host/known-share.js';
import type { ReplaceFile } from '../../src/host/replace-file.js';
import { Spool } from '../../src/host/spool.js';
import type { Config } from '../../src/model/config.js';
import type { FileSystem } from '../../src/model/filesystem.js';
import type { HostIdentity } from '../../src/model/host-identity.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import { StorageClient } from '../../src/storage/storage-client.js';
import { configuredLimits } from '../../src/storage/storage-limits.js';
import type { ShareAdministration } from '../../src/volume/share-administration.js';
import type { ShareStore } from '../../src/volume/share-store.js';
import { storageFork, type StorageForkOptions } from './storage-fork.js';
import { systemError } from './system-error.js';
import type { RunningProgram } from './world.js';

const RECORD_MODE = 0o600;

/** What of its host a program is given beside its own ports. */
export interface ProgramSurroundings {
  readonly config: Config;
  readonly bootId: string;
  readonly bootedAtMs: number;
  readonly identity: HostIdentity;
  /** What is new about who the host is, and its memory of that. */
  readonly names: AgentContext['names'];
  readonly libtpms: AgentContext['libtpms'];
  readonly running: () => ReadonlySet<DomainUuid>;
  /** Whether a domain's VM was started to take a guest in. */
  readonly takesGuestIn: (uuid: DomainUuid) => boolean | undefined;
  /** The live metadata of the host's domains, for a program of this host. */
  readonly runMetadata: (program: RunningProgram) => RunMetadataWriter;
  /** Whose QEMU runs, with a swtpm or without. */
  readonly qemus: () => ReadonlySet<DomainUuid>;
  /** Those whose guest runs, as the hypervisor sees it; `undefined` while it cannot be asked. */
  readonly guests: () => ReadonlySet<DomainUuid> | undefined;
  /** Those that are shut off, and all that there are; `undefined` likewise. */
  readonly inactive: () => ReadonlySet<DomainUuid> | undefined;
  readonly known: () => ReadonlySet<DomainUuid> | undefined;
  readonly locks: (program: RunningProgram) => AgentContext['locks'];
  readonly log: AgentContext['log'];
  /** Stands between the program and its share, to see what it is told. */
  readonly observe: (share: ShareStore) => ShareStore;
  readonly storage: Pick<StorageForkOptions, 'start' | 'isReachable'>;
}

export interface AgentProgram {
  readonly program: RunningProgram;
  readonly context: AgentContext;
  /** The same share as the context's. */
  readonly administration: ShareAdministration;
  /** Removes all that this host remembers of a domain. */
  forgetDomain(uuid: DomainUuid): Promise<void>;
  close(): Promise<void>;
}

export function agentProgram(program: RunningProgram, surroundings: ProgramSurroundings): AgentProgram {
  const { config, bootId, bootedAtMs, identity, storage, observe } = surroundings;
  const { stateDir, timing, limits } = config;
  const { local: fs, clock, random } = program;
  const client = new StorageClient({
    fork: storageFork({
      ...storage,
      root: config.share,
      self: identity,
      expiryMs: timing.hostExpiryMs,
      parent: program,
    }),
    clock,
    deadlineMs: timing.shareDeadlineMs,
    limits: configuredLimits(config),
  });
  const host = { fs, clock, random, stateDirectory: stateDir };
  const journal = new FileJournal(host);
  const spool = new Spool(host, { spoolBytesMax: limits.spoolBytesMax });
  const context: AgentContext = {
    config,
    identity,
    ...(surroundings.names && { names: surroundings.names }),
    ...(surroundings.libtpms && { libtpms: surroundings.libtpms }),
    bootId,
    bootedAtMs,
    share: observe(referring(client)),
    snapshots: client,
    knownShare: new FileKnownShare(host, replaceOn(fs)),
    journal,
    spool,
    files: hostStateFiles(host, config, client),
    running: {
      list: () => Promise.resolve(surroundings.running()),
      takesGuestIn: (uuid) => Promise.resolve(surroundings.takesGuestIn(uuid)),
      guest: (uuid) => Promise.resolve(surroundings.qemus().has(uuid) ? 'runs' : 'unknown'),
    },
    runMetadata: surroundings.runMetadata(program),
    guests: {
      list: () => Promise.resolve(surroundings.guests()),
      defined: () => Promise.resolve(undefined),
      inactive: () => Promise.resolve(surroundings.inactive()),
      known: () => Promise.resolve(surroundings.known()),
      describe: () => Promise.resolve(undefined),
    },
    locks: surroundings.locks(program),
    clock,
    random,
    log: surroundings.log,
  };
  const forgetDomain = async (uuid: DomainUuid): Promise<void> => {
    const entries = (await spool.list()).filter((entry) => entry.uuid === uuid);
    for (const { name } of entries) await spool.remove(uuid, name);
    await journal.remove(uuid);
  };
  return { program, context, administration: client, forgetDomain, close: () => client.close() };
}

/** As write-file-atomic does it. A record is one short write, which a file system takes whole or not at all. */
function replaceOn(fs: FileSystem): ReplaceFile {
  let writes = 0;
  return async (path, text) => {
    const temporary = `${path}.${String((writes += 1))}`;
    const data = Buffer.from(text);
    const file = await fs.open('replace:open', temporary, 'create', RECORD_MODE);
    try {
      if ((await file.write('replace:write', data, 0)) < data.length) throw systemError('ENOSPC');
      await file.sync('replace:fsync');
    } catch (error) {
      await file.close('replace:close');
      await fs.unlink('replace:unlink', temporary);
      throw error;
    }
    await file.close('replace:close');
    await fs.rename('replace:rename', temporary, path);
  };
}

/** Change events of a host's domains, as far as they are not lost. */
export class ChangeEvents {
  readonly #watched = new Map<DomainUuid, Set<(uuid: DomainUuid) => void>>();
  /** Whether any was lost ever: of what was written then nobody knows. */
  wereLost = false;
  #lost = false;

  /** Events that come from now on are lost. */
  get lost(): boolean {
    return this.#lost;
  }

  set lost(lost: boolean) {
    this.#lost = lost;
    this.wereLost ||= lost;
  }

  source(program: RunningProgram, onDirty: (uuid: DomainUuid) => void): ChangeSource {
    const tell = (uuid: DomainUuid): void => {
      program.process.run(() => {
        onDirty(uuid);
      });
    };
    const unwatchAll = (): void => {
      for (const listeners of this.#watched.values()) listeners.delete(tell);
    };
    program.process.onEnd(unwatchAll);
    return {
      watch: ({ uuid }) => {
        this.#listeners(uuid).add(tell);
        return Promise.resolve();
      },
      unwatch: (uuid) => {
        this.#listeners(uuid).delete(tell);
        return Promise.resolve();
      },
      close: () => {
        unwatchAll();
        return Promise.resolve();
      },
    };
  }

  changed(uuid: DomainUuid): void {
    if (this.lost) return;
    for (const tell of this.#listeners(uuid)) tell(uuid);
  }

  #listeners(uuid: DomainUuid): Set<(uuid: DomainUuid) => void> {
    let listeners = this.#watched.get(uuid);
    if (!listeners) this.#watched.set(uuid, (listeners = new Set()));
    return listeners;
  }
}
