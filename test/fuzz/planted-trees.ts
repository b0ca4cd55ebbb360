/**
 * planted-trees: plays operations of the product in trees in which somebody plants links, FIFOs,
 * devices, hard links and whatever else fits under a name: before an operation, before one of its
 * calls of the file system, or turning between link and directory all through it.
 *
 * I1 The canary tree beside share and host stays whole, and nothing of it turns up on either.
 * I2 Every operation ends, and what it fails with is an error with a code and a next step.
 */
import { dirname, join } from 'node:path';
import { MirrorError } from '../../src/model/errors.js';
import { NodeFileSystem } from '../../src/storage/node-filesystem.js';
import { interceptFileSystem } from '../fakes/intercepting-filesystem.js';
import { SeededRandom } from '../sim/random.js';
import { choosePlant, plant, turn } from './plants.js';
import { chooseOperation, makeActor, OPERATIONS, type Actor, type Placement } from './tree-operations.js';
import { TreeWorld, UUIDS } from './tree-world.js';

const OPERATIONS_RANGE = [2, 6] as const;
const CALLS_MAX = 12;
/** However little of the machine it gets. */
const DEADLINE_MS = 180_000;

export interface TreeFailure {
  readonly seed: string;
  readonly what: string;
  /** What was planted and done, one line each. */
  readonly story: readonly string[];
}

export interface TreeReport {
  readonly failures: readonly TreeFailure[];
  readonly trees: number;
  /** By outcome: `ok`, or an error's code. */
  readonly outcomes: ReadonlyMap<string, number>;
}

export async function playTrees(
  seeds: Iterable<string>,
  onPlayed: (trees: number) => void = () => undefined,
): Promise<TreeReport> {
  const failures: TreeFailure[] = [];
  const outcomes = new Map<string, number>();
  let trees = 0;
  const world = await TreeWorld.make(new SeededRandom('template'));
  try {
    for (const seed of seeds) {
      const failure = await playTree(world, seed, outcomes);
      if (failure) failures.push(failure);
      if (failures.length >= 3) break;
      onPlayed(++trees);
    }
  } finally {
    world.close();
  }
  return { failures, trees, outcomes };
}

async function playTree(
  world: TreeWorld,
  seed: string,
  outcomes: Map<string, number>,
): Promise<TreeFailure | undefined> {
  const tree = new PlantedTree(world, seed);
  const what = await tree.play(outcomes);
  return what === undefined ? undefined : { seed, what, story: tree.story };
}

class PlantedTree {
  readonly story: string[] = [];
  readonly #world: TreeWorld;
  readonly #random: SeededRandom;
  readonly #actor: Actor;
  /** Calls until something is planted in the middle of the operation; `undefined`: nothing is. */
  #callsLeft: number | undefined;
  #stopTurning: (() => void) | undefined;

  constructor(world: TreeWorld, seed: string) {
    world.reset();
    this.#world = world;
    this.#random = new SeededRandom(seed);
    const files = interceptFileSystem(new NodeFileSystem(), async ({ path }, proceed) => {
      this.#onCall(path);
      return await proceed();
    });
    const placement = this.#random.pick<Placement>(['mirror', 'direct']);
    const uuid = this.#random.pick(UUIDS);
    this.#actor = makeActor(world, files, this.#random.fork('product'), placement, uuid);
    this.story.push(`placement ${placement}, domain ${uuid}`);
  }

  async play(outcomes: Map<string, number>): Promise<string | undefined> {
    try {
      return await this.#playAll(outcomes);
    } finally {
      await this.#actor.store.leave({}).catch(() => undefined);
    }
  }

  async #playAll(outcomes: Map<string, number>): Promise<string | undefined> {
    const count = this.#random.int(...OPERATIONS_RANGE);
    for (let at = 0; at < count; at++) {
      if (this.#random.chance(0.6)) this.#plantAt(this.#anyPath());
      this.#callsLeft = this.#random.chance(0.6) ? this.#random.int(0, CALLS_MAX) : undefined;
      const name = chooseOperation(this.#random);
      this.story.push(name);
      const outcome = await this.#perform(name);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      this.story.push(`  -> ${outcome}`);
      if (!/^(ok|[A-Z_]+)$/.test(outcome) || outcome === 'INTERNAL') return `${name} ended with ${outcome}`;
      const wrong = this.#world.violation();
      if (wrong !== undefined) return `after ${name}: ${wrong}`;
    }
    return undefined;
  }

  async #perform(name: string): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<string>((resolve) => {
      timer = setTimeout(() => {
        resolve('no end');
      }, DEADLINE_MS);
    });
    const work = async (): Promise<string> => {
      try {
        await OPERATIONS[name]?.(this.#actor);
        return 'ok';
      } catch (error) {
        if (error instanceof MirrorError) {
          return error.code === 'INTERNAL' ? `INTERNAL: ${error.message}` : error.code;
        }
        return `an error without a code: ${String(error)}`;
      }
    };
    try {
      return await Promise.race([work(), deadline]);
    } finally {
      clearTimeout(timer);
      this.#callsLeft = undefined;
      this.#stopTurning?.();
      this.#stopTurning = undefined;
    }
  }

  #onCall(path: string): void {
    if (this.#callsLeft === undefined || this.#callsLeft-- > 0) return;
    this.#callsLeft = this.#random.chance(0.3) ? this.#random.int(0, CALLS_MAX) : undefined;
    const target = this.#random.chance(0.8) ? this.#onTheWayTo(path) : this.#anyPath();
    if (this.#random.chance(0.25) && !this.#stopTurning) {
      this.story.push(`  turns ${target}`);
      this.#stopTurning = turn(this.#world, target);
    } else {
      this.#plantAt(target);
    }
  }

  #plantAt(path: string): void {
    const what = choosePlant(this.#random);
    if (plant(this.#world, what, path)) this.story.push(`  plants ${what} at ${path}`);
  }

  /** The path itself, or a directory above it, as far as others can rename it. */
  #onTheWayTo(path: string): string {
    const way: string[] = [];
    const tops = [this.#world.share, this.#world.host];
    for (let at = path; tops.some((top) => at.startsWith(`${top}/`)); at = dirname(at)) {
      if (isTheirs(this.#world, at)) way.push(at);
    }
    return way.length === 0 ? this.#anyPath() : this.#random.pick(way);
  }

  #anyPath(): string {
    const { uuid } = this.#actor;
    const volume = join(this.#world.share, 'volumes', uuid);
    const future = [
      volume,
      join(this.#world.share, 'purged'),
      join(volume, 'live', '00000002'),
      join(volume, 'log', '00000006'),
      join(this.#world.swtpmRoot, uuid, 'tpm2', 'tpm2-00.savestate'),
    ];
    const existing = this.#world.entries().filter((path) => isTheirs(this.#world, path));
    return this.#random.pick([...existing, ...future]);
  }
}

/**
 * What somebody other than root can rename: everything on the share; on the host, what lies in a
 * directory of swtpm's or QEMU's user.
 */
function isTheirs(world: TreeWorld, path: string): boolean {
  if (path.startsWith(`${world.share}/`)) return true;
  if (path.startsWith(`${dirname(dirname(world.nvramPath))}/`)) return true;
  return path.startsWith(`${world.swtpmRoot}/`) && /\/(old-)?tpm2\//.test(path);
}
