/**
 * process: one life of a program on a simulated host. Clocks and file systems are handed out to a process, and stop with it.
 *
 * A killed process runs no further code, not even its `catch` and `finally` blocks: what it waits for never settles and its timers never
 * fire. What it had asked of a kernel or a server may still happen; that is decided where the request is.
 *
 * A paused process (SIGSTOP, or a host that is starved) runs no code either, until it is resumed: then everything that came meanwhile reaches it, in the
 * order in which it came.
 */

export class SimulatedProcess {
  readonly host: string;
  #alive = true;
  readonly #endings = new Set<() => void>();
  /** What came while it was paused; `undefined` while it runs. */
  #backlog: (() => void)[] | undefined;

  constructor(host: string) {
    this.host = host;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Calls back when the process is killed; the returned function takes that back. */
  onEnd(ending: () => void): () => void {
    this.#endings.add(ending);
    return () => {
      this.#endings.delete(ending);
    };
  }

  /** SIGKILL. Power loss of the host is this for each of its processes, and `powerLoss` of its disk and of its NFS mount. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#backlog = undefined;
    for (const ending of [...this.#endings]) ending();
    this.#endings.clear();
  }

  pause(): void {
    if (this.#alive) this.#backlog ??= [];
  }

  resume(): void {
    const backlog = this.#backlog ?? [];
    this.#backlog = undefined;
    for (const turn of backlog) this.run(turn);
  }

  /** Runs a piece of the process's code: now, when it is resumed, or never. */
  run(turn: () => void): void {
    if (!this.#alive) return;
    if (this.#backlog) this.#backlog.push(turn);
    else turn();
  }

  /** The promise's outcome while the process lives; for ever pending once it was killed. */
  async whileAlive<T>(promise: Promise<T>): Promise<T> {
    try {
      const value = await promise;
      if (this.#runs) return value;
      await this.#turn();
      return value;
    } catch (error) {
      if (!this.#runs) await this.#turn();
      throw error;
    }
  }

  get isPaused(): boolean {
    return this.#backlog !== undefined;
  }

  get #runs(): boolean {
    return this.#alive && !this.#backlog;
  }

  /** Resolves when the process runs code again, which may be never. */
  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.run(resolve);
    });
  }
}
