/**
 * domain-paths: where libvirt keeps a domain's files on this host, and the two names beside them that a restore may leave after a crash.
 */
import { basename, dirname } from 'node:path';
import type { TpmDirectoryName } from '../model/capture.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import type { NvramForm } from '../model/nvram.js';

export interface DomainPaths {
  readonly uuid: DomainUuid;
  /** What the TPM's directories lie in: `<swtpm_dir>/<uuid>`. */
  readonly swtpmDirectory: string;
  /** The domain's NVRAM file, when it has one and it is mirrored. */
  readonly nvramPath?: string | undefined;
  /** What its firmware variables are, where that is known. */
  readonly nvram?: NvramForm | undefined;
  /** The directory that the domain's owner chose for its one TPM; then `swtpmDirectory` is the one above it. */
  readonly own?: OwnDirectory | undefined;
}

export interface OwnDirectory {
  readonly role: TpmDirectoryName;
  /** Absolute and plain. */
  readonly directory: string;
}

export const TPM_DIRECTORY_NAMES: readonly TpmDirectoryName[] = ['tpm1.2', 'tpm2'];

const MOVED_LINK = /^\.(.{36})(?:\.tpm2|\.tpm1\.2)?\.swtpm-mirror-link$/;
const STAGING = /^\.(.{36})\.swtpm-mirror$/;

/** @param swtpmRoot libvirt's directory of all domains' TPMs, `libvirt.swtpm_dir` in the configuration */
export function domainPaths(
  swtpmRoot: string,
  uuid: DomainUuid,
  nvramPath?: string,
  nvram?: NvramForm,
  own?: OwnDirectory,
): DomainPaths {
  const swtpmDirectory = own ? dirname(own.directory) : `${swtpmRoot}/${uuid}`;
  return { uuid, swtpmDirectory, nvramPath, ...(nvram && { nvram }), ...(own && { own }) };
}

/** The TPMs that a domain may have there. */
export function tpmRoles({ own }: DomainPaths): readonly TpmDirectoryName[] {
  return own ? [own.role] : TPM_DIRECTORY_NAMES;
}

export function swtpmRoot(paths: DomainPaths): string {
  return dirname(paths.swtpmDirectory);
}

export function tpmDirectory({ swtpmDirectory, own }: DomainPaths, role: TpmDirectoryName): string {
  return own?.role === role ? own.directory : `${swtpmDirectory}/${role}`;
}

/**
 * A restore's staging directory: beside the domain's own, because a rename stays on one file system, and under a dot name with a
 * suffix, which libvirt and swtpm never look for.
 */
export function stagingDirectory(paths: DomainPaths): string {
  return `${paths.own ? paths.swtpmDirectory : swtpmRoot(paths)}/.${paths.uuid}.swtpm-mirror`;
}

/** The domain whose staging directory has this name. */
export function parseStagingName(name: string): DomainUuid | undefined {
  const uuid = STAGING.exec(name)?.[1] ?? '';
  return isDomainUuid(uuid) ? uuid : undefined;
}

/** Where a link that stood in place of the domain's directory, or of one of its TPM's, is kept. */
export function movedLinkPath(paths: DomainPaths, role?: TpmDirectoryName): string {
  const name = role === undefined ? paths.uuid : `${paths.uuid}.${role}`;
  return `${swtpmRoot(paths)}/.${name}.swtpm-mirror-link`;
}

/** The domain whose link was moved to this name. */
export function parseMovedLinkName(name: string): DomainUuid | undefined {
  const uuid = MOVED_LINK.exec(name)?.[1] ?? '';
  return isDomainUuid(uuid) ? uuid : undefined;
}

/** A restore's temporary NVRAM file, beside the NVRAM. */
export function stagedNvramPath(nvramPath: string): string {
  return `${dirname(nvramPath)}/.${basename(nvramPath)}.swtpm-mirror`;
}

/**
 * Where a restore moves what lay beside the state and cannot be copied: a directory, a file of any size.
 * Beside the domain's own directory, because a rename stays on one file system.
 */
export function leftoversDirectory(paths: DomainPaths): string {
  const beside = paths.own ? paths.swtpmDirectory : swtpmRoot(paths);
  return `${beside}/.${paths.uuid}.swtpm-mirror-leftovers`;
}
