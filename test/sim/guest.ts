/**
 * guest: one run of a domain on a host, as far as its TPM goes: a swtpm that writes as the real one does.
 *
 * A change writes `TMP2-00.permall` and renames it over `tpm2-00.permall`, without any fsync; the guest sees the change only then. A missing file makes
 * a blank TPM, without a word; a file that is not whole is refused and left as it is.
 * Not simulated: a stale temporary file is removed first, so that no power loss can mix two states of one length in it.
 */
import { dirname } from 'node:path';
import { errnoOf } from '../../src/model/errors.js';
import { sleep } from '../../src/model/environment.js';
import type { FileSystem } from '../../src/model/filesystem.js';
import { PERMALL } from './local-view.js';
import type { Loaded } from './oracle.js';
import type { Range, SeededRandom } from './random.js';
import { formatBy, reads, type SwtpmVersion, type TpmLedger, type TpmRun, type TpmState } from './tpm.js';
import type { RunningProgram } from './world.js';

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
const READ_BYTES = 4096;
const NVRAM_BYTES = 2048;

export interface GuestOptions {
  readonly program: RunningProgram;
  /** `<swtpm_dir>/<uuid>`. */
  readonly directory: string;
  /** Path of its firmware's variables; `undefined`: it has none. */
  readonly nvram: string | undefined;
  readonly run: TpmRun;
  readonly ledger: TpmLedger;
  /** The swtpm of its host; `undefined`: one that writes as every version can read it. */
  readonly swtpm: SwtpmVersion | undefined;
  readonly random: SeededRandom;
  /** How long it rests between two changes of its own; `undefined` when it makes none any more. */
  readonly restMs: () => Range | undefined;
  readonly nowMs: () => number;
  /** Its file has changed. */
  readonly onChange: () => void;
}

export class Guest {
  readonly run: TpmRun;
  readonly #options: GuestOptions;
  readonly #fs: FileSystem;
  #state: TpmState | undefined;
  #writing: Promise<void> = Promise.resolve();
  #ended = false;
  #hasTpm = true;

  constructor(options: GuestOptions) {
    this.#options = options;
    this.#fs = options.program.local;
    this.run = options.run;
  }

  /** What is in its file, as far as it knows. */
  get state(): TpmState | undefined {
    return this.#state;
  }

  /** Makes the directories, as libvirt does, and takes what is there. */
  async load(): Promise<Loaded> {
    await this.#makeDirectories();
    await this.#makeVariables();
    const data = await this.#readFile();
    if (!data) {
      const { ledger, swtpm, nowMs } = this.#options;
      await this.#store(ledger.blank(this.run, nowMs(), swtpm && formatBy(swtpm, undefined)));
      return this.#state ? 'blank' : 'failed';
    }
    const found = this.#options.ledger.stateOf(data);
    if (!found || !this.canRead(found)) return 'refused';
    this.#state = found;
    return found;
  }

  /** Whether its swtpm can. */
  canRead(state: TpmState): boolean {
    return reads(this.#options.swtpm ?? 'current', state);
  }

  #next(parent: TpmState): TpmState {
    const { ledger, swtpm, nowMs } = this.#options;
    return ledger.next(parent, this.run, nowMs(), swtpm && formatBy(swtpm, parent));
  }

  /** Takes over a migrating domain's state. */
  async receive(state: TpmState): Promise<void> {
    await this.#makeDirectories();
    await this.#makeVariables();
    const received = this.#next(state);
    await this.#store(received);
    // What its disk did not take is in its memory all the same, and stored with the next change.
    this.#state ??= received;
  }

  /** Goes on by itself from now on. */
  begin(): void {
    const { program, random, restMs } = this.#options;
    const range = restMs();
    if (!range) return;
    program.clock.after(random.between(range), () => {
      if (this.#ended || !restMs()) return;
      void this.write(1).then(() => {
        this.begin();
      });
    });
  }

  /** Changes its TPM's state, one change after another. */
  write(times: number): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      for (let time = 0; time < times && !this.#ended; time += 1) await this.#change();
    });
    return this.#writing;
  }

  /** Ends in good order: what was begun is written. */
  async end(): Promise<TpmState | undefined> {
    this.#ended = true;
    // What a swtpm that died alone had begun never ends.
    if (this.#hasTpm) await this.#writing;
    this.#options.program.process.kill();
    return this.#state;
  }

  kill(): void {
    this.#ended = true;
    this.#options.program.process.kill();
  }

  /** Its swtpm dies alone: the guest runs on, and its TPM answers nothing. */
  loseTpm(): void {
    this.kill();
    this.#hasTpm = false;
  }

  get hasTpm(): boolean {
    return this.#hasTpm;
  }

  async #change(): Promise<void> {
    const { program, random } = this.#options;
    await sleep(program.clock, random.between([0.1, 3]));
    if (this.#state) await this.#store(this.#next(this.#state));
    if (this.#options.nvram !== undefined && random.chance(0.2)) await this.#writeVariables('overwrite');
  }

  /** As libvirt does from the firmware's template, where there are none. */
  async #makeVariables(): Promise<void> {
    const { nvram } = this.#options;
    if (nvram === undefined) return;
    await this.#fs.mkdir('libvirt:mkdir', dirname(nvram), DIRECTORY_MODE).catch(unless('EEXIST'));
    const found = await this.#fs.lstat('libvirt:lstat', nvram).catch(unless('ENOENT'));
    if (!found) await this.#writeVariables('create');
  }

  /** In place and without any sync, as QEMU does. */
  async #writeVariables(how: 'create' | 'overwrite'): Promise<void> {
    const { nvram = '', random, onChange } = this.#options;
    try {
      const file = await this.#fs.open('qemu:open', nvram, how, FILE_MODE);
      const data = Buffer.alloc(NVRAM_BYTES, `variables ${String(random.int(0, 1_000_000))} `);
      await file.write('qemu:write', data, 0).finally(() => file.close('qemu:close'));
    } catch (error) {
      if (!['ENOSPC', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
      return;
    }
    onChange();
  }

  async #store(state: TpmState): Promise<void> {
    const { directory, ledger, onChange } = this.#options;
    const temporary = `${directory}/tpm2/TMP2-00.permall`;
    try {
      await this.#fs.unlink('swtpm:unlink', temporary).catch(unless('ENOENT'));
      const file = await this.#fs.open('swtpm:open', temporary, 'create', FILE_MODE);
      const data = ledger.blobOf(state);
      const written = await file.write('swtpm:write', data, 0).finally(() => file.close('swtpm:close'));
      if (written < data.length) return;
      await this.#fs.rename('swtpm:rename', temporary, `${directory}/tpm2/${PERMALL}`);
    } catch (error) {
      // A TPM that cannot store a change fails the command that made it; its directory may be gone, too.
      if (!['ENOSPC', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
      return;
    }
    this.#state = state;
    onChange();
  }

  async #makeDirectories(): Promise<void> {
    const { directory } = this.#options;
    for (const path of [directory, `${directory}/tpm2`]) {
      await this.#fs.mkdir('libvirt:mkdir', path, DIRECTORY_MODE).catch(unless('EEXIST'));
    }
  }

  async #readFile(): Promise<Uint8Array | undefined> {
    try {
      const file = await this.#fs.open('swtpm:open', `${this.#options.directory}/tpm2/${PERMALL}`, 'read');
      return await file.read('swtpm:read', READ_BYTES, 0).finally(() => file.close('swtpm:close'));
    } catch (error) {
      unless('ENOENT')(error);
      return undefined;
    }
  }
}

function unless(code: string): (error: unknown) => void {
  return (error) => {
    if (errnoOf(error) !== code) throw error;
  };
}
