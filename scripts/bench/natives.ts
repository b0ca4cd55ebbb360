/**
 * natives: the small C programs of the benchmark, compiled for this run.
 */
import { once } from 'node:events';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { runChecked } from '../../test/fixtures/process.js';
import type { TestScope } from '../../test/fixtures/temporary-directory.js';

const PROGRAMS = ['floor', 'timed', 'stand-ins'] as const;

/** Paths of the programs. */
export type Natives = Readonly<Record<(typeof PROGRAMS)[number], string>>;

export async function compileNatives(directory: string): Promise<Natives> {
  const compile = async (name: string): Promise<[string, string]> => {
    const [source, output] = [join(import.meta.dirname, 'native', `${name}.c`), join(directory, name)];
    await runChecked('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', output, source]);
    return [name, output];
  };
  return Object.fromEntries(await Promise.all(PROGRAMS.map(compile))) as Natives;
}

/** A program that is asked, and answers, by the line. Killed when the scope ends. */
export class LineProgram {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  readonly #unread: string[] = [];

  constructor(scope: TestScope, program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout);
    this.#lines.on('line', (line) => {
      const next = this.#waiting.shift();
      if (next) next(line);
      else this.#unread.push(line);
    });
    scope.teardown(() => this.end());
  }

  /** The next line that it says. */
  next(): Promise<string> {
    const line = this.#unread.shift();
    return line === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(line);
  }

  async ask(line: string): Promise<string> {
    const answer = this.next();
    this.#child.stdin.write(`${line}\n`);
    return await answer;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
