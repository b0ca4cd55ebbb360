/**
 * parts: what a generation holds beside the TPM, and what becomes of it where it cannot be read. Pure.
 *
 * I1 A part is never dropped in silence: a capture without it gets its last known reading, marked `stale` with the reason; where none is
 *    known, the capture says that it is absent, and why.
 * I2 Equal contents give equal digests, stale or not: what cannot be read never makes a generation by itself.
 */
import { compareStateFiles, isTpmRole, type AbsentPart, type Capture, type StateFile } from './capture.js';
import { MirrorError } from './errors.js';
import { contentDigest } from './hash.js';
import type { DomainUuid } from './identifiers.js';

/** The files of a capture that are no TPM's. */
export function partsOf(capture: Pick<Capture, 'files'> | undefined): readonly StateFile[] {
  return capture?.files.filter(({ role }) => !isTpmRole(role)) ?? [];
}

/** @param known the last readings of the domain's parts */
export function withKnownParts(capture: Capture, known: readonly StateFile[]): Capture {
  const added = (capture.absent ?? []).flatMap(({ role, reason }) => {
    const isThere = capture.files.some((file) => file.role === role);
    const last = known.find((file) => file.role === role);
    return last && !isThere ? [{ ...last, stale: reason }] : [];
  });
  if (added.length === 0) return capture;
  const files = [...capture.files, ...added].sort(compareStateFiles);
  return { ...capture, files, digest: contentDigest(files) };
}

/** Whether a part that is known is missing on this host, so that it is to be put in its place. */
export function isPartMissing({ files, absent = [] }: Capture): boolean {
  return absent.some(({ role, kind }) => kind === 'missing' && files.some((file) => file.role === role));
}

/** The same capture when what was missing is in its place. */
export function withPlacedParts(capture: Capture): Capture {
  const missing = (capture.absent ?? []).filter(({ kind }) => kind === 'missing');
  const files = capture.files.map(({ stale, ...file }) =>
    stale === undefined || missing.some(({ role }) => role === file.role) ? file : { ...file, stale },
  );
  return { ...capture, files, absent: capture.absent?.filter(({ kind }) => kind !== 'missing') };
}

/** The readings that are known from now on. */
export function newestParts(known: readonly StateFile[], { files }: Pick<Capture, 'files'>): StateFile[] {
  const present = partsOf({ files });
  return [...present, ...known.filter(({ role }) => present.every((file) => file.role !== role))];
}

/** A part that is not in the generations (`absent`), or as an earlier reading only (`stale`). */
export interface UnreadPart extends Omit<AbsentPart, 'path'> {
  readonly state: 'stale' | 'absent';
  /** RFC 3339 UTC. */
  readonly since: string;
}

/** What an operator is told of such a part. */
export function partNotice(
  uuid: DomainUuid,
  { role, reason, kind, state }: UnreadPart,
  path: string,
): MirrorError {
  const instead =
    state === 'stale' ? 'its generations hold the last one that was read' : 'it is in no generation';
  return new MirrorError(
    'PART_UNREADABLE',
    `the ${role} of ${uuid} cannot be stored: ${path === '' ? 'it' : path} is ${reason}; ${instead}, and its TPM is stored all the same`,
    {
      next: NEXT[kind](path),
      retriable: kind === 'passing',
    },
  );
}

const NEXT: Readonly<Record<AbsentPart['kind'], (path: string) => string>> = {
  missing: (path) => `put ${path} back, or take its name out of the domain's XML`,
  unfit: (path) => `put a regular file in the place of ${path}: it is stored as soon as it is one`,
  passing: () => 'nothing to do if it passes: it is read again and again',
  lost: () => 'see with `swtpm-mirror verify` which generations are whole; an older one can have it',
};
