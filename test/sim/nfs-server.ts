/**
 * nfs-server: the server's side: an inode tree, what it remembers of requests, and its crashes.
 *
 * I1 On a `sync` export the effect of a request on names is durable when its reply leaves; on an `async` export some time later.
 * I2 Written data is durable when the client has committed it (WRITE with `stable`, or COMMIT) in the same boot.
 * I3 A request that was executed is answered from memory when it comes again, unless the server has restarted since or has forgotten it
 *    (`replayForgotten`): then it is executed again, and may meet its own effect (`EEXIST`, `ENOENT`).
 * I4 For the grace period after a restart, requests on open state are put off.
 */
import { errnoOf } from '../../src/model/errors.js';
import { EPOCH_MS, type VirtualClock } from './clock.js';
import type { FileInode } from './inode.js';
import { InodeTree } from './inode-tree.js';
import type { CrashModel } from './metadata-journal.js';
import { attempt, type Outcome } from './outcome.js';
import type { SeededRandom } from './random.js';
import type { Trace } from './trace.js';

/** What a client asks for; it runs in one piece, when and as often as the request arrives. */
export interface Procedure<T> {
  readonly name: ProcedureName;
  /** For the trace. */
  readonly detail: string;
  readonly execute: (tree: InodeTree) => T;
}

export type ProcedureName =
  | 'GETATTR'
  | 'SETATTR'
  | 'LOOKUP'
  | 'READDIR'
  | 'STATFS'
  | 'OPEN'
  | 'READ'
  | 'WRITE'
  | 'COMMIT'
  | 'SYMLINK'
  | 'MKDIR'
  | 'LINK'
  | 'RENAME'
  | 'REMOVE';

const BARRED_BY_GRACE: ReadonlySet<ProcedureName> = new Set(['OPEN', 'LINK', 'RENAME', 'REMOVE']);
/** Read-only, so that a second execution is no event. */
const UNTRACED: ReadonlySet<ProcedureName> = new Set(['GETATTR', 'LOOKUP', 'READDIR', 'STATFS', 'READ']);
const ASYNC_FLUSH_MS = 5000;

export interface NfsServerOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly trace: Trace;
  readonly export: 'sync' | 'async';
  readonly capacityBytes?: number;
  /** How wrong the clock is that stamps what a host writes, ms; missing: the server's own stamps everything. */
  readonly writerSkewMs?: ((host: string) => number) | undefined;
}

export class NfsServer {
  readonly tree: InodeTree;
  /** Told of every request that arrives, those included that were executed before. */
  onRequest: ((host: string, name: ProcedureName) => void) | undefined;
  readonly #options: NfsServerOptions;
  /** Outcomes by request, as in a session's slot table. */
  readonly #replies = new Map<number, Outcome<unknown>>();
  #up = true;
  #boot = 1;
  #graceUntilMs = 0;
  #flushPending = false;
  /** Of the clock that stamps what is executed just now. */
  #skewMs = 0;

  constructor(options: NfsServerOptions) {
    this.#options = options;
    const wallNs = (): bigint =>
      BigInt(Math.floor((EPOCH_MS + options.clock.nowMs + this.#skewMs) * 1000)) * 1000n;
    this.tree = new InodeTree(wallNs, options.capacityBytes);
  }

  get up(): boolean {
    return this.#up;
  }

  /** As `statfs` tells it. */
  get kind(): 'nfs' | 'ceph' {
    return this.#options.writerSkewMs ? 'ceph' : 'nfs';
  }

  /** Counts restarts; data written in one boot and not committed in it has to be sent again (the write verifier). */
  get boot(): number {
    return this.#boot;
  }

  /** How long this procedure is still put off, ms. */
  graceLeftMs(procedure: ProcedureName): number {
    if (!BARRED_BY_GRACE.has(procedure)) return 0;
    return Math.max(0, this.#graceUntilMs - this.#options.clock.nowMs);
  }

  /** Whether the request was executed in this boot and is still known. */
  remembered(request: number): boolean {
    return this.#replies.has(request);
  }

  execute<T>(request: number, host: string, procedure: Procedure<T>, forgetful: boolean): Outcome<T> {
    this.onRequest?.(host, procedure.name);
    const known = this.#replies.get(request);
    if (known && !forgetful) return known as Outcome<T>;
    this.#skewMs = this.#options.writerSkewMs?.(host) ?? 0;
    const outcome = attempt(() => procedure.execute(this.tree));
    this.#skewMs = 0;
    this.#replies.set(request, outcome);
    this.#record(host, procedure, known ? 'executed again' : 'executed', outcome);
    return outcome;
  }

  /** A stable WRITE, or COMMIT. An `async` export says that it is done, and does it some time later. */
  commit(file: FileInode): void {
    if (this.#options.export === 'sync') this.tree.sync(file);
  }

  /** The reply leaves: on a `sync` export what was executed is durable. */
  persist(): void {
    if (this.#options.export === 'sync') {
      this.tree.journal.syncAll();
    } else if (!this.#flushPending) {
      this.#flushPending = true;
      this.#options.clock.after(this.#options.random.between([0, ASYNC_FLUSH_MS]), () => {
        this.#flushPending = false;
        if (this.#up) this.tree.syncAll();
      });
    }
  }

  /** Power loss: down until `restart`. */
  crash(model: CrashModel = this.#options.random.pick(['ordered', 'independent'])): void {
    this.#up = false;
    this.#boot += 1;
    this.#replies.clear();
    this.tree.powerLoss(model, this.#options.random);
    this.#event('crash', model);
  }

  restart(graceMs: number): void {
    this.#up = true;
    this.#graceUntilMs = this.#options.clock.nowMs + graceMs;
    this.#event('restart', `grace ${graceMs} ms`);
  }

  #record<T>(host: string, procedure: Procedure<T>, how: string, outcome: Outcome<T>): void {
    if (UNTRACED.has(procedure.name)) return;
    const result = outcome.kind === 'done' ? how : `${how}, ${errnoOf(outcome.error) ?? 'failed'}`;
    const { clock, trace } = this.#options;
    const action = `${procedure.name} ${procedure.detail} for ${host}`;
    trace.record({ timeMs: clock.nowMs, host: 'server', site: '', action, outcome: result });
  }

  #event(action: string, outcome: string): void {
    this.#options.trace.record({
      timeMs: this.#options.clock.nowMs,
      host: 'server',
      site: '',
      action,
      outcome,
    });
  }
}
