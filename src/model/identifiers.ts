/**
 * identifiers: names from outside that become parts of paths. Each is checked once, here, and carried as a branded type, so that a path
 * can only be built from a checked name.
 */
import { MirrorError } from './errors.js';

declare const brand: unique symbol;

/** A domain's UUID in lower-case canonical form. */
export type DomainUuid = string & { readonly [brand]: 'DomainUuid' };

/** A host's name in this system: `[a-z0-9.-]`, at most 63 characters, beginning and ending with a letter or digit. */
export type HostName = string & { readonly [brand]: 'HostName' };

/** A snapshot's name: letters, digits and `._-`, at most 64 characters, beginning with a letter or digit. */
export type SnapshotName = string & { readonly [brand]: 'SnapshotName' };

const SNAPSHOT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;
const QUOTED_MAX = 80;

/** Line separators and terminal controls that JSON leaves as they are. */
const UNPRINTABLE = /[\u007f-\u009f\u2028\u2029]/g;

/** A value from outside, cut and escaped for one line of an error message. */
export function quoted(text: string): string {
  const json = JSON.stringify(text.length > QUOTED_MAX ? `${text.slice(0, QUOTED_MAX)}…` : text);
  return json.replaceAll(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function isDomainUuid(text: string): text is DomainUuid {
  return UUID.test(text);
}

/**
 * @throws MirrorError `USAGE` when `text` is not a UUID
 */
export function parseDomainUuid(text: string): DomainUuid {
  const lower = text.toLowerCase();
  if (isDomainUuid(lower)) return lower;
  throw new MirrorError('USAGE', `${quoted(text)} is not a domain UUID`, {
    next: 'give the UUID as `virsh domuuid NAME` prints it, such as 6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d',
  });
}

export function isHostName(text: string): text is HostName {
  return HOST_NAME.test(text) && !text.includes('..');
}

/**
 * @throws MirrorError `CONFIG_INVALID` when `text` cannot serve as a host's name
 */
export function parseHostName(text: string): HostName {
  const lower = text.toLowerCase();
  if (isHostName(lower)) return lower;
  throw new MirrorError('CONFIG_INVALID', `${quoted(text)} cannot be used as a host name`, {
    next: 'set `host` in the configuration to letters, digits, dots and hyphens (63 at most), unique for each host of the share',
  });
}

export function isSnapshotName(text: string): text is SnapshotName {
  return SNAPSHOT_NAME.test(text);
}

/**
 * @throws MirrorError `USAGE` when `text` cannot serve as a snapshot's name
 */
export function parseSnapshotName(text: string): SnapshotName {
  if (isSnapshotName(text)) return text;
  throw new MirrorError('USAGE', `${quoted(text)} cannot be used as a snapshot's name`, {
    next: 'give letters, digits, dots, hyphens and underscores, beginning with a letter or digit (64 at most)',
  });
}
