/**
 * faulting-filesystem: a file system that fails at chosen calls with a chosen error, and can write less than asked. The process
 * lives on and sees the error.
 */
import type { FileSystem } from '../../src/model/filesystem.js';
import { interceptFileSystem, type Call } from './intercepting-filesystem.js';

export interface Fault {
  /** Call site, or the beginning of one. */
  readonly site: string;
  readonly errno: string;
  /** Which call of this site fails, from 1. @default 1 */
  readonly nth?: number;
  /** Whether the call takes place before it fails, as when a reply is lost. @default false */
  readonly isDone?: boolean;
}

export interface FaultingFileSystem {
  readonly fs: FileSystem;
  /** How many faults were met. */
  readonly faultsMet: () => number;
}

export function systemError(errno: string, { method, path }: Pick<Call, 'method' | 'path'>): Error {
  return Object.assign(new Error(`${errno}: injected, ${method} '${path}'`), { code: errno });
}

/** @param writeBytesMax most bytes that one write takes */
export function faultingFileSystem(
  inner: FileSystem,
  faults: readonly Fault[],
  writeBytesMax = Infinity,
): FaultingFileSystem {
  const counts = new Map<Fault, number>();
  let met = 0;
  const fs = interceptFileSystem(
    inner,
    async (call, proceed) => {
      for (const fault of faults) {
        if (!call.site.startsWith(fault.site)) continue;
        const count = (counts.get(fault) ?? 0) + 1;
        counts.set(fault, count);
        if (count !== (fault.nth ?? 1)) continue;
        met++;
        if (fault.isDone === true) await proceed();
        throw systemError(fault.errno, call);
      }
      return proceed();
    },
    ({ data }) => data.subarray(0, writeBytesMax),
  );
  return { fs, faultsMet: () => met };
}

/**
 * Runs `scenario` with the n-th operation failing, for each operation of a clean run.
 *
 * @param errnos with which they fail in turn
 */
export async function failEach(
  prepare: () => Promise<FileSystem>,
  scenario: (fs: FileSystem) => Promise<unknown>,
  errnos: readonly string[],
  check: (failed: Call & { readonly errno: string }, outcome: unknown) => Promise<void>,
): Promise<void> {
  const calls: Call[] = [];
  const counting = interceptFileSystem(await prepare(), async (call, proceed) => {
    calls.push(call);
    return proceed();
  });
  await scenario(counting);
  for (const [index, failed] of calls.entries()) {
    const errno = errnos[index % errnos.length] ?? 'EIO';
    let count = 0;
    const fs = interceptFileSystem(await prepare(), async (call, proceed) => {
      if (count++ === index) throw systemError(errno, call);
      return proceed();
    });
    const outcome: unknown = await scenario(fs).then(
      () => undefined,
      (error: unknown) => error,
    );
    await check({ ...failed, errno }, outcome);
  }
}

/** A disk that is full for everything else for as long as `reserve` lies on it. */
export function fullBeside(reserve: string, fs: FileSystem): FileSystem {
  return interceptFileSystem(fs, async (call, proceed) => {
    const takesRoom = call.method === 'write' || call.method === 'mkdir';
    if (takesRoom && (await isThere(fs, reserve))) throw systemError('ENOSPC', call);
    return await proceed();
  });
}

async function isThere(fs: FileSystem, path: string): Promise<boolean> {
  return await fs.lstat('fake:lstat', path).then(
    () => true,
    () => false,
  );
}
