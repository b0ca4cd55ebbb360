/**
 * known-share: the one share that this host's state belongs to, in `<state_dir>/share.json`.
 *
 * Another share under the same path would look like a place where no VM has any state, so it is refused by its id. To move a host to
 * another share on purpose, its operator removes this file.
 */
import { MirrorError } from '../model/errors.js';
import type { FileSystem } from '../model/filesystem.js';
import { ensureDirectories, ifAny, readRegular } from './files.js';
import { orHostError } from './host-error.js';
import { replaceFile, type ReplaceFile } from './replace-file.js';

const RECORD_BYTES_MAX = 4096;
const SHARE_ID = /^[0-9a-f]{32}$/;

export class FileKnownShare {
  readonly #fs: FileSystem;
  readonly #stateDirectory: string;
  readonly #replace: ReplaceFile;
  #known: string | undefined;

  constructor(
    context: { readonly fs: FileSystem; readonly stateDirectory: string },
    replace: ReplaceFile = replaceFile,
  ) {
    this.#fs = context.fs;
    this.#stateDirectory = context.stateDirectory;
    this.#replace = replace;
  }

  /** What was read or written by this process so far. */
  get known(): string | undefined {
    return this.#known;
  }

  /** @throws MirrorError `JOURNAL_DAMAGED`, `HOST_IO` */
  async read(): Promise<string | undefined> {
    this.#known ??= await orHostError(`read ${this.#path}`, async () => {
      const file = await ifAny(() => readRegular(this.#fs, 'known-share', this.#path, RECORD_BYTES_MAX));
      return file && parseRecord(this.#path, file.data);
    });
    return this.#known;
  }

  /** Resolves when it is durable. @throws MirrorError `HOST_IO` */
  async write(shareId: string): Promise<void> {
    await orHostError(`write ${this.#path}`, async () => {
      await ensureDirectories(this.#fs, 'known-share', this.#stateDirectory);
      await this.#replace(this.#path, `${JSON.stringify({ id: shareId })}\n`);
      await this.#fs.syncDirectory('known-share:sync', this.#stateDirectory);
    });
    this.#known = shareId;
  }

  get #path(): string {
    return `${this.#stateDirectory}/share.json`;
  }
}

function parseRecord(path: string, data: Uint8Array): string {
  try {
    const record: unknown = JSON.parse(new TextDecoder().decode(data));
    if (typeof record === 'object' && record !== null && 'id' in record) {
      const { id } = record;
      if (typeof id === 'string' && SHARE_ID.test(id)) return id;
    }
  } catch {
    // Reported below like any other content that is no record.
  }
  throw new MirrorError('JOURNAL_DAMAGED', `${path} is damaged`, {
    next: `make sure that the right share is mounted, then remove ${path}: it is written anew`,
  });
}
