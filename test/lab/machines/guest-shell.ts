/**
 * guest-shell: commands in a guest. The other end is `guest/shell.sh`, where the protocol stands.
 */
import type { Duplex } from 'node:stream';
import { waitUntil } from '../../fixtures/wait-until.js';
import { LineSocket } from './line-socket.js';
import { PendingAnswers } from './pending-answers.js';

export interface ShellResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const COMMAND_TIMEOUT_MS = 120_000;
/** A guest reads every question that was put to it while it booted. */
const ASK_INTERVAL_MS = 500;

export class GuestShell {
  readonly #answers = new PendingAnswers<ShellResult>();
  /** Beginnings of long answers, by the ids of their commands. */
  readonly #pieces = new Map<string, string>();
  #socket: LineSocket | undefined;
  #ready = false;

  /** Resolves when the guest serves commands. */
  async open(port: Duplex, timeoutMs: number): Promise<void> {
    const socket = new LineSocket(port, (line) => {
      this.#take(line);
    });
    this.#socket = socket;
    const isServing = (): true | undefined => {
      socket.send('0 -');
      return this.#ready ? true : undefined;
    };
    await waitUntil('the guest to serve commands', timeoutMs, isServing, ASK_INTERVAL_MS);
  }

  /** Runs a bash script in the guest, whatever its status. */
  async try(script: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<ShellResult> {
    return await this.#answers.wait(script, timeoutMs, (id) => {
      this.#socket?.send(`${id} ${line(script)}`);
    });
  }

  /**
   * Runs a bash script that must succeed, and returns what it printed.
   *
   * @throws Error with the script's stderr when any of its commands fails
   */
  async run(script: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
    const { status, stdout, stderr } = await this.try(`set -euo pipefail\n${script}`, timeoutMs);
    if (status === 0) return stdout;
    throw new Error(`expected status 0, got ${status}: ${script}: ${stderr.trim()}`);
  }

  /** Whoever waits for an answer is told that there will be none. */
  close(why: string): void {
    this.#ready = false;
    this.#pieces.clear();
    this.#socket?.close();
    this.#socket = undefined;
    this.#answers.failAll(new Error(why));
  }

  #take(line: string): void {
    if (line === 'ready') {
      this.#ready = true;
      return;
    }
    const [id = '', mark = ''] = line.split(' ', 2);
    const whole = (this.#pieces.get(id) ?? '') + line.slice(id.length + mark.length + 2);
    if (mark === '+') {
      this.#pieces.set(id, whole);
      return;
    }
    this.#pieces.delete(id);
    const [status, stdout, stderr] = whole.split(' ');
    this.#answers.answer(Number(id), { status: Number(status), stdout: text(stdout), stderr: text(stderr) });
  }
}

/** One line from which bash's `printf %b` makes the text. */
function line(script: string): string {
  return script
    .trim()
    .replaceAll('\\', String.raw`\\`)
    .replaceAll('\n', String.raw`\n`);
}

function text(encoded: string | undefined): string {
  return encoded === undefined || encoded === '-' ? '' : Buffer.from(encoded, 'base64').toString();
}
