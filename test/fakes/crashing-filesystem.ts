/**
 * crashing-filesystem: a process that dies at its n-th operation. Nothing that was done before is undone, nothing after it reaches
 * the disk. What a power loss does to unsynced data is the simulated disk's subject, not this one's.
 */
import type { FileSystem } from '../../src/model/filesystem.js';
import { interceptFileSystem, type Call } from './intercepting-filesystem.js';

export class Crash extends Error {}

export interface CrashingFileSystem {
  readonly fs: FileSystem;
  /** Every operation that was asked for before the crash. */
  readonly calls: readonly Call[];
}

/** @param crashBefore operation before which the process dies, from 0; `Infinity` for a clean run */
export function crashingFileSystem(inner: FileSystem, crashBefore: number): CrashingFileSystem {
  const calls: Call[] = [];
  const fs = interceptFileSystem(inner, async (call, proceed) => {
    if (calls.length >= crashBefore) throw new Crash(`crashed before ${call.site}`);
    calls.push(call);
    return proceed();
  });
  return { fs, calls };
}

/**
 * Runs `scenario` once to its end to count its operations, and once with a crash before each of them.
 *
 * @param check is called after every crash, with the call before which it came
 */
export async function crashBeforeEach(
  prepare: () => Promise<FileSystem>,
  scenario: (fs: FileSystem) => Promise<unknown>,
  check: (before: Call) => Promise<void>,
): Promise<number> {
  const clean = crashingFileSystem(await prepare(), Infinity);
  await scenario(clean.fs);
  for (const [index, call] of clean.calls.entries()) {
    const { fs } = crashingFileSystem(await prepare(), index);
    const outcome: unknown = await scenario(fs).then(
      () => 'no crash',
      (error: unknown) => error,
    );
    if (!(outcome instanceof Crash)) {
      throw new Error(`expected a crash before ${call.site}`, { cause: outcome });
    }
    await check(call);
  }
  return clean.calls.length;
}
