/**
 * tpm-writer: a real swtpm whose one NV index holds a number, which is raised as fast as the TPM takes it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import type { DriverCall } from './driver-protocol.js';
import { SwtpmProcess } from '../../fixtures/swtpm.js';
import type { TpmClient } from '../../fixtures/tpm-client.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const NV_INDEX = 0x01500016;
const VALUE_BYTES = 8;
/** Leaves the guest's one processor some time for what publishes. */
const REST_MS = 200;
const CONNECT_TIMEOUT_MS = 30_000;
const STATE_FILE = 'tpm2-00.permall';
/** TPM_RC_HANDLE: no such index. */
const NO_SUCH_INDEX = 'response code 0x28b';

export type WritingPlan = Pick<Extract<DriverCall, { kind: 'tpm-write' }>, 'from' | 'once'>;

export interface WriterEvents {
  writing(value: number): void;
  wrote(value: number, digest: string): void;
}

export class TpmWriter {
  readonly #swtpm: SwtpmProcess;
  readonly #client: TpmClient;
  readonly #events: WriterEvents;
  #writing: Promise<number> | undefined;
  #resting = false;

  private constructor(swtpm: SwtpmProcess, client: TpmClient, events: WriterEvents) {
    this.#swtpm = swtpm;
    this.#client = client;
    this.#events = events;
  }

  static async start(state: string, run: string, events: WriterEvents): Promise<TpmWriter> {
    const swtpm = await SwtpmProcess.start({ stateDirectory: state, runDirectory: run });
    // swtpm opens its command socket after its control socket, and here that takes its time.
    const client = await waitUntil('swtpm to take commands', CONNECT_TIMEOUT_MS, () =>
      swtpm.connect().catch(() => undefined),
    );
    return new TpmWriter(swtpm, client, events);
  }

  async define(): Promise<void> {
    await this.#client.nvDefine(NV_INDEX, VALUE_BYTES);
  }

  begin(plan: WritingPlan): void {
    this.#resting = false;
    this.#writing = this.#write(plan);
    // Whoever rests or kills the TPM is told.
    this.#writing.catch(() => undefined);
  }

  /** @returns the last value that was written */
  async rest(): Promise<number> {
    this.#resting = true;
    return (await this.#writing) ?? 0;
  }

  /** `null` for a TPM that never had a value. */
  async read(): Promise<number | null> {
    try {
      return Number((await this.#client.nvRead(NV_INDEX, VALUE_BYTES)).readBigUInt64BE());
    } catch (error) {
      if (error instanceof Error && error.message.includes(NO_SUCH_INDEX)) return null;
      throw error;
    }
  }

  async kill(): Promise<void> {
    this.#resting = true;
    await this.#swtpm.kill();
    await this.#writing?.catch(() => undefined);
    await this.#client.close();
  }

  async #write({ from, once }: WritingPlan): Promise<number> {
    for (let value = from; ; value += 1) {
      if (this.#resting) return value - 1;
      this.#events.writing(value);
      const bytes = Buffer.alloc(VALUE_BYTES);
      bytes.writeBigUInt64BE(BigInt(value));
      await this.#client.nvWrite(NV_INDEX, bytes);
      this.#events.wrote(value, await this.#digest());
      if (once) return value;
      await delay(REST_MS);
    }
  }

  async #digest(): Promise<string> {
    const data = await readFile(join(this.#swtpm.stateDirectory, STATE_FILE));
    return contentDigest([{ role: 'tpm2', name: STATE_FILE, sha256: sha256(data) }]);
  }
}
