/**
 * compressor: xz and bzip2 by the programs of those names, which every distribution has and Node has not.
 *
 * Content goes through pipes alone: it never stands on a command line or in a file.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { errnoOf, MirrorError } from '../model/errors.js';
import type { Compression, Compressor } from '../bundle/ovirt.js';

const PROGRAMS: Readonly<Record<Compression, string>> = { xz: 'xz', bzip2: 'bzip2' };
const PACKAGES: Readonly<Record<Compression, string>> = { xz: 'xz-utils', bzip2: 'bzip2' };
const DEADLINE_MS = 60_000;

export const compressor: Compressor = {
  compress: (kind, data) => run(kind, ['-z', '-c', '-9'], data, Infinity),
  decompress: (kind, data, bytesMax) => run(kind, ['-d', '-c'], data, bytesMax),
};

function run(
  kind: Compression,
  args: readonly string[],
  data: Uint8Array,
  bytesMax: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // Without pipes when it could not be started, whatever the types of `spawn` say: then `error` follows.
    const child: ChildProcess = spawn(PROGRAMS[kind], args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: DEADLINE_MS,
    });
    const chunks: Buffer[] = [];
    let length = 0;
    child.on('error', (error) => {
      reject(errnoOf(error) === 'ENOENT' ? missing(kind) : notStarted(kind, errnoOf(error) ?? error.message));
    });
    // What it did not take, it says by its exit status.
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= bytesMax) chunks.push(chunk);
      else child.kill('SIGKILL');
    });
    child.on('close', (status) => {
      if (status === 0 && length <= bytesMax) resolve(Buffer.concat(chunks));
      else if (length > bytesMax) reject(failed(kind, `it unpacks to more than ${bytesMax} bytes`));
      else reject(failed(kind, 'the data is damaged'));
    });
    child.stdin?.end(data);
  });
}

function missing(kind: Compression): MirrorError {
  return new MirrorError('HOST_IO', `this host has no ${PROGRAMS[kind]}`, {
    next: `install the package ${PACKAGES[kind]}`,
  });
}

function notStarted(kind: Compression, why: string): MirrorError {
  return new MirrorError('HOST_IO', `cannot start ${PROGRAMS[kind]}: ${why}`, {
    next: 'free memory, processes or descriptors of this host, then try again',
  });
}

function failed(kind: Compression, why: string): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `cannot use ${kind} data: ${why}`, {
    next: 'take another copy of it',
  });
}
