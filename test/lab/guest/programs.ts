/**
 * programs: the programs that the driver runs in its guest, followed line by line.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface ProgramEvents {
  line(name: string, line: string): void;
  exited(name: string, how: string): void;
}

export class Programs {
  readonly #running = new Map<string, ChildProcess>();
  readonly #events: ProgramEvents;

  constructor(events: ProgramEvents) {
    this.#events = events;
  }

  start(name: string, program: string, args: readonly string[]): void {
    // In a process group of its own, so that its children go with it.
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#running.set(name, child);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', (line) => {
        this.#events.line(name, line);
      });
    }
    child.on('error', (error) => {
      this.#events.exited(name, error.message);
    });
    child.on('exit', (status, signal) => {
      this.#events.exited(name, signal ?? `status ${status ?? ''}`);
    });
  }

  signal(name: string, signal: NodeJS.Signals): void {
    const pid = this.#running.get(name)?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // It has ended by itself.
    }
  }

  killAll(): void {
    for (const name of this.#running.keys()) this.signal(name, 'SIGKILL');
  }
}
