/**
 * simulator-workers: schedules played by bundles of the simulator in processes of their own, one for each processor.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';

/** A schedule makes much garbage and keeps none of it. */
const FLAGS = ['--enable-source-maps', '--max-semi-space-size=32'];

/** One process; it plays one order after another. */
export class SimulatorWorker {
  #child;
  #waiting;

  constructor(bundle) {
    this.#child = spawn(process.execPath, [...FLAGS, bundle], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) =>
      this.#waiting?.resolve(JSON.parse(line)),
    );
    this.#child.on('exit', (status) =>
      this.#waiting?.reject(new Error(`the simulator ended with status ${status}`)),
    );
    this.#child.stdin.on('error', () => {});
  }

  play(order) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    });
  }

  end() {
    this.#waiting = undefined;
    this.#child.stdin.end();
  }

  kill() {
    this.#waiting = undefined;
    this.#child.kill('SIGKILL');
  }
}

/**
 * Plays orders side by side until they are all played or `onResult` says that it has seen enough.
 *
 * @param orders any iterable
 * @param onResult called with each answer; true ends it
 */
export async function playAll(bundle, orders, onResult, workers = availableParallelism()) {
  const queue = orders[Symbol.iterator]();
  let enough = false;
  const work = async () => {
    const worker = new SimulatorWorker(bundle);
    try {
      for (let next = queue.next(); !next.done && !enough; next = queue.next()) {
        if (onResult(await worker.play(next.value))) enough = true;
      }
    } finally {
      if (enough) worker.kill();
      else worker.end();
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
}
