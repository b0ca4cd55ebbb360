/**
 * part-source: generations made whole again, of which a part lies in an earlier one of their volume.
 *
 * I1 A reference is followed once: the generation that it names has the bytes itself. A chain of them is damage.
 * I2 What is put in a reference's place has the SHA-256 that the referring manifest tells, whoever wrote to the other one.
 * I3 Only damage makes a part `lost`. A share that does not answer, or a key that is missing, is an error as ever.
 */
import type { Bundle } from '../bundle/archive.js';
import { formatFor, type Manifest } from '../bundle/manifest.js';
import { compareStateFiles, isTpmRole, type AbsentPart, type StateFile } from '../model/capture.js';
import { contentBytes } from '../model/content.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import { contentDigest } from '../model/hash.js';
import type { Generation } from './share-store.js';

/** Reads a generation as it was written. @throws MirrorError `GENERATION_DAMAGED` and whatever keeps it from being read */
type ReadStored = (file: string) => Promise<Bundle>;

export class PartSource {
  readonly #read: ReadStored;
  /** The one that was needed last: those of one epoch share few. */
  #last: { readonly file: string; readonly reading: Promise<Bundle> } | undefined;

  constructor(read: ReadStored) {
    this.#read = read;
  }

  async complete(bundle: Bundle): Promise<Omit<Generation, 'name' | 'bytes'>> {
    const file = bundle.capture.files.find((candidate) => candidate.in)?.in?.generation;
    if (file === undefined) return bundle;
    let files: readonly StateFile[];
    try {
      files = resolved(bundle, file, await this.#bundle(file));
    } catch (error) {
      if (!(error instanceof MirrorError) || !LOST.has(error.code)) throw error;
      const lost = asMirrorError(error).toRecord();
      return { ...withoutLost(bundle, file), partsIn: file, lost };
    }
    const capture = { ...bundle.capture, files };
    return { manifest: ofCapture(bundle.manifest, capture), capture, partsIn: file };
  }

  #bundle(file: string): Promise<Bundle> {
    if (this.#last?.file !== file) this.#last = { file, reading: this.#read(file) };
    return this.#last.reading;
  }
}

const LOST: ReadonlySet<string> = new Set(['GENERATION_DAMAGED', 'STATE_INVALID']);

/** @throws MirrorError `GENERATION_DAMAGED` */
function resolved({ capture }: Bundle, from: string, other: Bundle): StateFile[] {
  return capture.files.map((file) => {
    if (!file.in) return file;
    const found = other.capture.files.find((candidate) => compareStateFiles(candidate, file) === 0);
    const isIt = found && !found.in && found.sha256 === file.sha256 && contentBytes(found) === file.in.bytes;
    if (!isIt) throw missingIn(from, file);
    const { in: _, ...rest } = file;
    return { ...rest, data: found.data, ...(found.tail && { tail: found.tail }) };
  });
}

function missingIn(from: string, { role }: StateFile): MirrorError {
  return new MirrorError('GENERATION_DAMAGED', `${from} does not hold the ${role} that is looked for in it`, {
    next: 'see with `swtpm-mirror verify` which generations are whole',
  });
}

/** The TPM alone. */
function withoutLost({ manifest, capture }: Bundle, from: string): Bundle {
  const files = capture.files.filter((file) => !file.in);
  const lost = capture.files.flatMap(({ role, in: reference }): AbsentPart[] =>
    reference && !isTpmRole(role) ? [{ role, kind: 'lost', path: '', reason: lostReason(from) }] : [],
  );
  const absent = [...(manifest.absent ?? []).map((part) => ({ ...part, path: '' })), ...lost];
  const rest = { ...capture, files, digest: contentDigest(files), absent };
  return { manifest: ofCapture(manifest, rest), capture: rest };
}

function lostReason(from: string): string {
  return `damaged or gone in the volume, where it is in ${from}`;
}

/** The manifest of a capture that is not as it was written. */
function ofCapture(manifest: Manifest, { files, digest, absent = [] }: Bundle['capture']): Manifest {
  const described = manifest.files.flatMap(({ in: _, ...file }) =>
    files.some((present) => compareStateFiles(present, file) === 0) ? [file] : [],
  );
  const told =
    absent.length > 0 ? absent.map(({ role, kind, reason }) => ({ role, kind, reason })) : undefined;
  return {
    ...manifest,
    format: formatFor(described),
    files: described,
    digest,
    ...(told && { absent: told }),
  };
}
