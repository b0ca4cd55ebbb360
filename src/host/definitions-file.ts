/**
 * definitions-file: which domains' definitions this host knew when an agent looked last, so that the next agent tells what has changed since:
 * `<state_dir>/definitions.json`.
 *
 * Nothing hangs on this file but news: one that is missing or damaged reads as if nobody had looked before.
 */
import * as z from 'zod';
import type { FileSystem } from '../model/filesystem.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { ensureDirectories, ifAny, readRegular } from './files.js';
import { orHostError } from './host-error.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';

const FORMAT = 1;
const BYTES_MAX = 16 * 1024 * 1024;
const UUID = z.custom<DomainUuid>((value) => typeof value === 'string' && isDomainUuid(value));
const FILE = z.object({
  format: z.literal(FORMAT),
  known: z.array(UUID),
  withoutTpm: z.array(z.object({ uuid: UUID, name: z.string(), recordedAt: z.string() })),
  returns: z.array(z.object({ uuid: UUID, times: z.int().min(0) })).default([]),
});

/** A domain that was started without a TPM although its state is stored. */
export interface BareDomain {
  readonly uuid: DomainUuid;
  readonly name: string;
  /** When this host's record of it had been written last: a later one says that it has a TPM again. */
  readonly recordedAt: string;
}

export interface SeenDefinitions {
  /** Defined at the last look, or told by then to be undefined. */
  readonly known: readonly DomainUuid[];
  readonly withoutTpm: readonly BareDomain[];
  /** How often each was defined again after it was undefined. */
  readonly returns?: readonly { readonly uuid: DomainUuid; readonly times: number }[];
}

export class DefinitionsFile {
  readonly #fs: FileSystem;
  readonly #stateDirectory: string;
  readonly #replace: ReplaceFile;

  constructor(
    context: { readonly fs: FileSystem; readonly stateDirectory: string },
    replace: ReplaceFile = replaceFile,
  ) {
    this.#fs = context.fs;
    this.#stateDirectory = context.stateDirectory;
    this.#replace = replace;
  }

  /** @returns `undefined` when nobody has looked before. @throws MirrorError `HOST_IO` */
  async read(): Promise<SeenDefinitions | undefined> {
    return await orHostError(`read ${this.#path}`, async () => {
      const file = await ifAny(() => readRegular(this.#fs, 'definitions', this.#path, BYTES_MAX));
      return file && parse(file.data);
    });
  }

  /** @throws MirrorError `HOST_IO` */
  async write({ known, withoutTpm }: SeenDefinitions): Promise<void> {
    await orHostError(`write ${this.#path}`, async () => {
      await ensureDirectories(this.#fs, 'definitions', this.#stateDirectory);
      await this.#replace(this.#path, `${JSON.stringify({ format: FORMAT, known, withoutTpm })}\n`);
    });
  }

  get #path(): string {
    return `${this.#stateDirectory}/definitions.json`;
  }
}

function parse(data: Uint8Array): SeenDefinitions | undefined {
  try {
    const { known, withoutTpm } = FILE.parse(JSON.parse(new TextDecoder().decode(data)));
    return { known, withoutTpm };
  } catch {
    return undefined;
  }
}
