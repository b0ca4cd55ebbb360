/**
 * hash: SHA-256 as a pure function. The one use of `node:crypto` in the model.
 */
import { createHash } from 'node:crypto';
import { digestText, isTpmRole, type StateFile } from './capture.js';

/** Lower-case hexadecimal SHA-256. */
export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** A capture's content hash: equal for equal roles, names and contents, whatever the modes and times. */
export function contentDigest(files: readonly Pick<StateFile, 'role' | 'name' | 'sha256'>[]): string {
  return sha256(digestText(files));
}

/**
 * The content hash of a state's TPM alone, whatever else (NVRAM) the state has. Of a state that is
 * nothing but a TPM it is the content hash itself.
 */
export function tpmDigest(files: readonly Pick<StateFile, 'role' | 'name' | 'sha256'>[]): string {
  return contentDigest(files.filter(({ role }) => isTpmRole(role)));
}

/** The 20 bytes of a SHA-1: only to check a digest that another format carries, never to name or to protect anything. */
export function sha1(data: Uint8Array): Uint8Array {
  return createHash('sha1').update(data).digest();
}
