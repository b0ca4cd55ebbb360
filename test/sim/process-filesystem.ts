/**
 * process-filesystem: a file system as one process sees it. Adds to any simulated one what belongs to the process that calls: its calls stop with its
 * life, each is traced, and each can be made to fail or to kill.
 *
 * I1 A call of a process that is dead, or dies before the reply, never settles. Whether it takes effect is the file system's affair.
 */
import type {
  CallSite,
  FileStat,
  FileSystem,
  FileSystemSpace,
  OpenFile,
  OpenMode,
} from '../../src/model/filesystem.js';
import { errnoOf } from '../../src/model/errors.js';
import type { VirtualClock } from './clock.js';
import type { Call, Injection, Injector } from './injection.js';
import { outcomeOf } from './outcome.js';
import type { SimulatedProcess } from './process.js';
import { describeError, systemError } from './system-error.js';
import type { Trace } from './trace.js';

export interface ProcessContext {
  readonly process: SimulatedProcess;
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly inject: Injector | undefined;
}

export class ProcessFileSystem implements FileSystem {
  readonly #fs: FileSystem;
  readonly #context: ProcessContext;

  constructor(fs: FileSystem, context: ProcessContext) {
    this.#fs = fs;
    this.#context = context;
  }

  async open(site: CallSite, path: string, mode: OpenMode, permissions?: number): Promise<OpenFile> {
    const open = (): Promise<OpenFile> => this.#fs.open(site, path, mode, permissions);
    const file = await perform(this.#context, { operation: `open(${mode})`, site, path }, open);
    return new ProcessOpenFile(file, path, this.#context);
  }

  readdir(site: CallSite, path: string): Promise<string[]> {
    return this.#perform('readdir', site, path, () => this.#fs.readdir(site, path));
  }

  lstat(site: CallSite, path: string): Promise<FileStat> {
    return this.#perform('lstat', site, path, () => this.#fs.lstat(site, path));
  }

  readlink(site: CallSite, path: string): Promise<string> {
    return this.#perform('readlink', site, path, () => this.#fs.readlink(site, path));
  }

  symlink(site: CallSite, target: string, path: string): Promise<void> {
    return this.#perform('symlink', site, path, () => this.#fs.symlink(site, target, path));
  }

  link(site: CallSite, existing: string, path: string): Promise<void> {
    return this.#perform('link', site, path, () => this.#fs.link(site, existing, path));
  }

  rename(site: CallSite, from: string, to: string): Promise<void> {
    return this.#perform('rename', site, `${from} -> ${to}`, () => this.#fs.rename(site, from, to));
  }

  unlink(site: CallSite, path: string): Promise<void> {
    return this.#perform('unlink', site, path, () => this.#fs.unlink(site, path));
  }

  mkdir(site: CallSite, path: string, permissions: number): Promise<void> {
    return this.#perform('mkdir', site, path, () => this.#fs.mkdir(site, path, permissions));
  }

  rmdir(site: CallSite, path: string): Promise<void> {
    return this.#perform('rmdir', site, path, () => this.#fs.rmdir(site, path));
  }

  chmod(site: CallSite, path: string, permissions: number): Promise<void> {
    return this.#perform('chmod', site, path, () => this.#fs.chmod(site, path, permissions));
  }

  chown(site: CallSite, path: string, uid: number, gid: number): Promise<void> {
    return this.#perform('chown', site, path, () => this.#fs.chown(site, path, uid, gid));
  }

  syncDirectory(site: CallSite, path: string): Promise<void> {
    return this.#perform('syncDirectory', site, path, () => this.#fs.syncDirectory(site, path));
  }

  statfs(site: CallSite, path: string): Promise<FileSystemSpace> {
    return this.#perform('statfs', site, path, () => this.#fs.statfs(site, path));
  }

  #perform<T>(operation: string, site: CallSite, path: string, execute: () => Promise<T>): Promise<T> {
    return perform(this.#context, { operation, site, path }, execute);
  }
}

class ProcessOpenFile implements OpenFile {
  readonly #file: OpenFile;
  readonly #path: string;
  readonly #context: ProcessContext;

  constructor(file: OpenFile, path: string, context: ProcessContext) {
    this.#file = file;
    this.#path = path;
    this.#context = context;
  }

  read(site: CallSite, length: number, position: number): Promise<Uint8Array> {
    return this.#perform('read', site, () => this.#file.read(site, length, position));
  }

  write(site: CallSite, data: Uint8Array, position: number): Promise<number> {
    return this.#perform(`write(${data.length})`, site, () => this.#file.write(site, data, position));
  }

  stat(site: CallSite): Promise<FileStat> {
    return this.#perform('fstat', site, () => this.#file.stat(site));
  }

  chown(site: CallSite, uid: number, gid: number): Promise<void> {
    return this.#perform('fchown', site, () => this.#file.chown(site, uid, gid));
  }

  sync(site: CallSite): Promise<void> {
    return this.#perform('fsync', site, () => this.#file.sync(site));
  }

  close(site: CallSite): Promise<void> {
    return this.#perform('close', site, () => this.#file.close(site));
  }

  #perform<T>(operation: string, site: CallSite, execute: () => Promise<T>): Promise<T> {
    return perform(this.#context, { operation, site, path: this.#path }, execute);
  }
}

async function perform<T>(
  context: ProcessContext,
  described: Omit<Call, 'host'>,
  execute: () => Promise<T>,
): Promise<T> {
  const { process, inject } = context;
  if (!process.alive) return never();
  const call: Call = { host: process.host, ...described };
  const injection = inject?.(call);
  if (injection?.executed === false) return afflict(context, call, injection);
  const outcome = await outcomeOf(process.whileAlive(execute()));
  if (outcome.kind === 'failed') {
    record(context, call, errnoOf(outcome.error) ?? String(outcome.error));
    throw describeError(outcome.error, call.operation, call.path);
  }
  if (injection?.kind === 'delay') await late(context, injection.ms);
  else if (injection) return afflict(context, call, injection);
  record(context, call, typeof outcome.value === 'string' ? outcome.value : 'ok');
  return outcome.value;
}

type Affliction = Exclude<Injection, { kind: 'delay' }>;

function afflict(context: ProcessContext, call: Call, injection: Affliction): Promise<never> {
  const effect = injection.executed ? 'took effect' : 'no effect';
  if (injection.kind === 'fail') {
    record(context, call, `${injection.code} injected, ${effect}`);
    const error = systemError(injection.code, `injected, ${effect}`);
    return Promise.reject(describeError(error, call.operation, call.path));
  }
  record(context, call, `killed, ${effect}`);
  context.process.kill();
  return never();
}

function record({ trace, clock }: ProcessContext, call: Call, outcome: string): void {
  const action = `${call.operation} ${call.path}`;
  trace.record({ timeMs: clock.nowMs, host: call.host, site: call.site, action, outcome });
}

function late({ process, clock }: ProcessContext, ms: number): Promise<void> {
  return process.whileAlive(
    new Promise((resolve) => {
      clock.after(ms, resolve);
    }),
  );
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
