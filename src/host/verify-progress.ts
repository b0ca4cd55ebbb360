/**
 * verify-progress: how far a check of a whole share has come, so that one that was interrupted can go on: `<state_dir>/verify.jsonl`.
 *
 *   {"format":1,"share":"…","startedAt":"…"}    which share
 *   {"uuid":"…",…}                               one line for each volume that was checked, as it was found
 *
 * I1 A line counts when it is whole: what a crash tore is checked again.
 * Nothing hangs on this file: without it, everything is checked anew.
 */
import * as z from 'zod';
import type { FileSystem, OpenFile } from '../model/filesystem.js';
import { errnoOf } from '../model/errors.js';
import { isDomainUuid, type DomainUuid } from '../model/identifiers.js';
import { ifAny, readRegular } from './files.js';
import { FILE_MODE } from '../model/durable-file.js';
import { orHostError } from './host-error.js';

const FORMAT = 1;
const BYTES_MAX = 256 * 1024 * 1024;
const HEADER = z.object({ format: z.literal(FORMAT), share: z.string(), startedAt: z.string() });
const FINDING = z.object({
  uuid: z.custom<DomainUuid>((value) => typeof value === 'string' && isDomainUuid(value)),
  checked: z.number(),
  unopened: z.number().default(0),
  damaged: z.array(z.object({ generation: z.number(), code: z.string(), message: z.string() })),
  problems: z.array(z.object({ code: z.string(), message: z.string() })),
  strangers: z.array(z.string()).default([]),
});

/** What was found in one volume. */
export type Finding = z.output<typeof FINDING>;

export class VerifyProgress {
  readonly #fs: FileSystem;
  readonly #path: string;
  #file: OpenFile | undefined;
  #end = 0;

  constructor(fs: FileSystem, stateDirectory: string) {
    this.#fs = fs;
    this.#path = `${stateDirectory}/verify.jsonl`;
  }

  /**
   * Begins anew, or goes on.
   *
   * @returns what an interrupted run of the same share found; nothing when it is not resumed
   */
  async begin(share: string, startedAt: string, resume: boolean): Promise<Finding[]> {
    return await orHostError(`write ${this.#path}`, async () => {
      const earlier = resume ? await this.#read(share) : undefined;
      this.#file = await this.#fs.open(
        'verify:open',
        this.#path,
        earlier ? 'overwrite' : 'create',
        FILE_MODE,
      );
      this.#end = earlier?.bytes ?? 0;
      if (!earlier) await this.#append({ format: FORMAT, share, startedAt });
      return earlier?.findings ?? [];
    });
  }

  async note(finding: Finding): Promise<void> {
    await orHostError(`write ${this.#path}`, () => this.#append(finding));
  }

  /** @param finished nothing is left to go on with */
  async end(finished: boolean): Promise<void> {
    await this.#file?.close('verify:close');
    this.#file = undefined;
    if (!finished) return;
    await orHostError(`remove ${this.#path}`, async () => {
      await ifAny(() => this.#fs.unlink('verify:unlink', this.#path));
    });
  }

  async #append(line: object): Promise<void> {
    const data = Buffer.from(`${JSON.stringify(line)}\n`);
    this.#end += (await this.#file?.write('verify:write', data, this.#end)) ?? 0;
  }

  async #read(share: string): Promise<{ findings: Finding[]; bytes: number } | undefined> {
    let text: string;
    try {
      text = Buffer.from((await readRegular(this.#fs, 'verify', this.#path, BYTES_MAX)).data).toString(
        'utf8',
      );
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const [first = '', ...rest] = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
    const header = HEADER.safeParse(parseLine(first));
    if (!header.success || header.data.share !== share) return undefined;
    const findings: Finding[] = [];
    let bytes = Buffer.byteLength(first) + 1;
    for (const line of rest) {
      const finding = FINDING.safeParse(parseLine(line));
      if (!finding.success) break;
      findings.push(finding.data);
      bytes += Buffer.byteLength(line) + 1;
    }
    return { findings, bytes };
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
