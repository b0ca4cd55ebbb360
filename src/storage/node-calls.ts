/**
 * node-calls: system calls of `node:fs` as promises.
 *
 * A call goes to a thread and back, which costs many times what the system itself takes for it.
 * `node:fs/promises` adds a fifth to that (an object for every open file, a promise more for
 * every call), so the calls are made through `node:fs`.
 */
import * as fs from 'node:fs';
import type { BigIntStats } from 'node:fs';

/** What a call gives. */
export function result<Result>(
  call: (done: (error: Error | null, result: Result) => void) => void,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}

/** For a call that gives nothing. */
export function success(call: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call((error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** What a system call is given for what is open. */
export function descriptorPath(descriptor: number): string {
  return `/proc/self/fd/${String(descriptor)}`;
}

export function openFile(path: string, flags: number, permissions?: number): Promise<number> {
  return result((done) => {
    fs.open(path, flags, permissions, done);
  });
}

export function statOf(descriptor: number): Promise<BigIntStats> {
  return result((done) => {
    fs.fstat(descriptor, { bigint: true }, done);
  });
}

export function lstatAt(path: string): Promise<BigIntStats> {
  return result((done) => {
    fs.lstat(path, { bigint: true }, done);
  });
}

export function readlinkAt(path: string): Promise<string> {
  return result((done) => {
    fs.readlink(path, done);
  });
}

export function statfsAt(path: string): Promise<fs.StatsFs> {
  return result((done) => {
    fs.statfs(path, done);
  });
}
