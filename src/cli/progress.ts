/**
 * progress: how far long work has come: one line on stderr that is written over, where that is a terminal; and its end when somebody interrupts it.
 */
import { MirrorError } from '../model/errors.js';
import type { CliEnvironment } from './environment.js';

const CLEAR_LINE = '\r\u001b[K';

export class Progress {
  readonly #terminal: CliEnvironment['terminal'];
  #line = '';

  constructor({ terminal }: Pick<CliEnvironment, 'terminal'>) {
    this.#terminal = terminal;
  }

  show(line: string): void {
    if (!this.#terminal.isWatched) return;
    this.#line = line;
    this.#terminal.err(`${CLEAR_LINE}${line}`);
  }

  /** A result, to stdout, which may be the same terminal. */
  out(text: string): void {
    if (this.#line !== '') this.#terminal.err(CLEAR_LINE);
    this.#terminal.out(text);
    if (this.#line !== '') this.#terminal.err(this.#line);
  }

  clear(): void {
    if (this.#line !== '') this.#terminal.err(CLEAR_LINE);
    this.#line = '';
  }
}

const INTERRUPTED = Symbol('interrupted');

/** Runs steps one after the other until somebody interrupts: then the step under way is not waited for. */
export class Interruptible {
  readonly #signal: Promise<typeof INTERRUPTED>;

  constructor({ interrupted }: Pick<CliEnvironment, 'interrupted'>) {
    this.#signal = interrupted().then(() => INTERRUPTED);
  }

  /** @throws MirrorError `INTERRUPTED` with the message and the next step given */
  async step<Result>(
    work: Promise<Result>,
    told: () => { readonly message: string; readonly next: string },
  ): Promise<Result> {
    const result = await Promise.race([work, this.#signal]);
    if (result !== INTERRUPTED) return result;
    // Whoever closes the share ends it.
    work.catch(() => undefined);
    const { message, next } = told();
    throw new MirrorError('INTERRUPTED', message, { next });
  }
}
