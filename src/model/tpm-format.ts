/**
 * tpm-format: in which format a TPM 2 state is, and which libtpms can read it. Pure.
 *
 * libtpms reads what it wrote and what is older. What it cannot read it says no more of than
 * `CMD_INIT: 0x101`, after swtpm was started. Known of its releases:
 *
 *   before 0.10   payload up to version 3, without a profile
 *   0.10          payload up to version 4, profiles up to state format level 7
 *   after 0.10    not known: they are believed to read everything
 */
import { isTpmRole, type Capture } from './capture.js';
import { MirrorError } from './errors.js';
import { validateStateFile } from './swtpm-blob.js';
import type { Tpm2Payload } from './tpm2-payload.js';

/** A release of libtpms: major, minor. */
export interface LibtpmsVersion {
  readonly major: number;
  readonly minor: number;
  /** As it is written: `0.9.2`. */
  readonly text: string;
}

const PAYLOAD_BEFORE_0_10 = 3;
const PAYLOAD_OF_0_10 = 4;
const LEVEL_OF_0_10 = 7;
const VERSION = /^(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?$/;

export function parseLibtpmsVersion(text: string): LibtpmsVersion | undefined {
  const [, major, minor] = VERSION.exec(text) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  return { major: Number(major), minor: Number(minor), text };
}

/** `undefined` for a TPM 1.2, an encrypted state, or one that is not understood. */
export function tpmFormat({ files }: Pick<Capture, 'files'>): Tpm2Payload | undefined {
  for (const { role, name, data } of files) {
    if (!isTpmRole(role)) continue;
    try {
      const { libtpms } = validateStateFile(role, name, data);
      if (libtpms) return libtpms;
    } catch (error) {
      if (!(error instanceof MirrorError)) throw error;
    }
  }
  return undefined;
}

/** Whether every libtpms that is in use reads it. */
export function isReadEverywhere({ minVersion }: Tpm2Payload): boolean {
  return minVersion <= PAYLOAD_BEFORE_0_10;
}

/** Whether a libtpms is known not to read it. */
export function isTooNewFor(format: Tpm2Payload, { major, minor }: LibtpmsVersion): boolean {
  if (isReadEverywhere(format)) return false;
  if (major > 0 || minor > 10) return false;
  if (minor < 10) return true;
  const level = format.profile?.stateFormatLevel ?? 0;
  return format.minVersion > PAYLOAD_OF_0_10 || level > LEVEL_OF_0_10;
}

/** One line: `payload version 4, profile default-v1 (state format level 7)`. */
export function formatText({ payloadVersion, profile }: Tpm2Payload): string {
  if (!profile) return `payload version ${payloadVersion}`;
  const { name, stateFormatLevel } = profile;
  const level = stateFormatLevel === undefined ? '' : ` (state format level ${stateFormatLevel})`;
  return `payload version ${payloadVersion}, profile ${name}${level}`;
}
