/**
 * host-context: what the modules of this host's side need, and where a domain's files lie.
 */
import type { Clock, Random } from '../model/environment.js';
import type { FileSystem } from '../model/filesystem.js';

export interface HostContext {
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly random: Random;
  /** This program's own directory on a local disk: spool, journal, set-aside state, locks. */
  readonly stateDirectory: string;
}

export const DIRECTORY_MODE = 0o700;
/** Prefix of a name under `stateDirectory` that is still being written; nothing ever reads one. */
export const TEMPORARY_PREFIX = '.tmp-';
