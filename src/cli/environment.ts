/**
 * environment: what the commands get from the program: configuration, terminal, and the parts that only `main.ts` can wire.
 */
import type { RequestListener, Server } from 'node:http';
import type { AgentContext, ChangeSource } from '../agent/agent-context.js';
import type { Compressor } from '../bundle/ovirt.js';
import type { Sealing } from '../bundle/sealing.js';
import type { DomainFeed } from '../agent/domain-feed.js';
import type { Metrics } from '../agent/api/metrics.js';
import type { ServiceManager } from '../agent/api/service-report.js';
import type { Config } from '../model/config.js';
import type { Clock } from '../model/environment.js';
import type { ListenAddress } from '../model/config-schema.js';
import type { FileSystem } from '../model/filesystem.js';
import type { HostId, HostIdentity } from '../model/host-identity.js';
import type { DomainUuid, HostName } from '../model/identifiers.js';
import type { StorageUserQuestion } from './storage-user.js';
import type { ShareAdministration, ShareService } from '../volume/share-administration.js';

export interface Terminal {
  /** Results, to stdout. */
  out(text: string): void;
  /** Everything else, to stderr. */
  err(text: string): void;
  /** Whether stdout is a terminal, so that colour and redrawing make sense. */
  readonly isInteractive: boolean;
  /** Whether stderr is a terminal, so that progress is seen. */
  readonly isWatched: boolean;
  /** Whether colour is wanted: a terminal, and neither `NO_COLOR` nor `TERM=dumb` says no. */
  readonly isColoured: boolean;
  /** As wide and as high as it is just now. */
  readonly columns: number;
  readonly rows: number;
}

export interface AgentLock {
  /** Resolves with the reason if the lock is lost. */
  readonly lost: Promise<string>;
  release(): Promise<void>;
}

/** An agent context with what must be ended after use. */
export interface OpenContext {
  readonly context: AgentContext;
  readonly metrics: Metrics;
  readonly feed: DomainFeed;
  /** The same share as the context's. */
  readonly administration: ShareAdministration;
  readonly fs: FileSystem;
  /** Removes all that this host remembers of a domain: its journal record and its spooled state. */
  readonly forgetDomain: (uuid: DomainUuid) => Promise<void>;
  readonly changes: (onDirty: (uuid: DomainUuid) => void) => ChangeSource;
  /** @throws MirrorError `DOMAIN_BUSY` when another agent runs on this host */
  readonly holdAgentLock: () => Promise<AgentLock>;
  /** Work that leaves things half done if it ends in the middle: a first SIGINT, SIGTERM or SIGHUP waits for its end. */
  readonly uninterrupted: Uninterrupted;
  readonly close: () => Promise<void>;
}

export type Uninterrupted = <Result>(work: () => Promise<Result>) => Promise<Result>;

export interface OpenShare {
  readonly share: ShareService;
  readonly close: () => Promise<void>;
}

/** Where the structured log goes: an agent's to stdout; a command says what it has to say itself. */
export type LogTarget = 'stdout' | 'silent';

export interface CliEnvironment {
  readonly terminal: Terminal;
  /** The process that ran libvirt's hook, where the installed script says it. */
  readonly hookCaller?: string | undefined;
  readonly version: string;
  /** Absolute paths of Node and of this program, for what is to start it. */
  readonly program: { readonly node: string; readonly program: string };
  readonly fs: FileSystem;
  readonly clock: Clock;
  /** @throws MirrorError `CONFIG_INVALID` */
  readonly loadConfig: (path: string | undefined) => Promise<Config>;
  /** Absolute path of the configuration file that `loadConfig` reads. */
  readonly configPath: (path: string | undefined) => string;
  readonly openContext: (config: Config, log: LogTarget) => Promise<OpenContext>;
  /** Who this host is, without changing anything. @throws MirrorError `IDENTITY_DAMAGED`, `HOST_IO` */
  readonly peekIdentity: (config: Config) => Promise<HostIdentity>;
  /** Begins an identity that nothing copied has. */
  readonly separateIdentity: (config: Config) => Promise<{ readonly id: HostId; readonly former: HostName }>;
  /** The share alone, for commands that need nothing else of this host. */
  readonly openShare: (config: Config, root?: string) => Promise<OpenShare>;
  /** Whether a user can write in a directory, by writing there as that user. */
  readonly tryWriting: StorageUserQuestion['tryWriting'];
  /** What generations are encrypted with; `undefined` when nothing is. @throws MirrorError `KEY_UNUSABLE` */
  readonly openSealing: (config: Config) => Promise<Sealing | undefined>;
  /** A server that nobody can exhaust by connecting. @param said what could not be accepted */
  readonly server: (
    kind: 'control' | 'metrics',
    handler: RequestListener,
    said: (message: string) => void,
  ) => Server;
  /** Listens on a unix socket of mode 0600; one that a dead agent left is replaced. */
  readonly listen: (server: Server, path: string) => Promise<void>;
  /** @throws MirrorError `HOST_IO` when the address cannot be had */
  readonly listenAt: (server: Server, address: ListenAddress) => Promise<void>;
  /** What started this program and wants to know how it is; `undefined` when nobody does. */
  readonly serviceManager: ServiceManager | undefined;
  /** Resolves with the signal's name at SIGTERM or SIGINT. */
  readonly interrupted: () => Promise<string>;
  /** For forms of state that other programs use. */
  readonly compressor: Compressor;
  readonly pause: (ms: number) => Promise<void>;
  /** Standard input to its end. @throws MirrorError `USAGE` when it is longer than `bytesMax` */
  readonly readInput: (bytesMax: number) => Promise<string>;
}
