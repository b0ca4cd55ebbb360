/**
 * volume-sweep: runs a scenario with one thing going wrong at one of its calls, and then lets life go on: the host that was interrupted, or
 * another one, takes the volume and reads, publishes and tidies. What must hold then is the protocol's promise.
 */
import type { Test } from 'tap';
import { asMirrorError, MirrorError } from '../../src/model/errors.js';
import { parseGenerationName, type GenerationName } from '../../src/model/generation-name.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import type { HistoryEntry, ShareStore } from '../../src/volume/share-store.js';
import { headNumber, hold, publish, read, tryPublish, type Hold } from '../fixtures/volume-steps.js';
import { tpmCapture, UUID } from '../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../fixtures/volume-hosts.js';
import type { Call, Injection } from '../sim/injection.js';
import { injectAtCall } from '../sim/injection.js';
import type { CrashModel } from '../sim/metadata-journal.js';
import { ACTOR, OTHER, type Scenario } from './volume-scenarios.js';

/** What goes wrong, at the n-th call of the operation, and how life goes on. */
export interface Mishap {
  readonly nth: number;
  readonly injection: Injection;
  /** How the power fails afterwards, if it does. */
  readonly power: CrashModel | undefined;
  readonly successor: typeof ACTOR | typeof OTHER;
  readonly seed: number;
}

type End = { readonly kind: 'acknowledged' | 'died' } | { readonly kind: 'failed'; readonly error: unknown };

/** Chooses what an unsynced disk keeps. */
export const SEED = Number(process.env['SEED'] ?? 1);

const ATTEMPTS = 4;
const VOLUME = `${SHARE}/volumes/${UUID}`;

/** Plans mishaps from the calls of a clean run. */
export type Plan = (calls: readonly Call[]) => Iterable<Mishap>;

/** A call that changes nothing. */
export function isReading({ operation }: Call): boolean {
  return ['open(read)', 'readdir', 'lstat', 'readlink', 'read', 'fstat'].includes(operation);
}

export async function sweep(t: Test, scenario: Scenario, plan: Plan): Promise<void> {
  const calls = await callsOf(scenario);
  let count = 0;
  for (const mishap of plan(calls)) {
    try {
      await suffer(scenario, mishap);
    } catch (error) {
      t.comment(String(error));
      t.fail(`${scenario.name}, at ${calls[mishap.nth - 1]?.site ?? 'its end'}`);
      return;
    }
    count++;
  }
  t.pass(`${String(count)} mishaps at ${String(calls.length)} calls`);
}

async function callsOf(scenario: Scenario): Promise<Call[]> {
  const hosts = new VolumeHosts(1, scenario.sealing);
  const held = await scenario.prepare(hosts);
  const calls: Call[] = [];
  const { store } = hosts.start(ACTOR, {
    inject: (call) => {
      calls.push(call);
      return undefined;
    },
  });
  await scenario.act(store, heldBy(store, held));
  return calls;
}

/**
 * @throws Error that says what was broken, with everything that happened on the disk
 */
async function suffer(scenario: Scenario, mishap: Mishap): Promise<void> {
  const hosts = new VolumeHosts(mishap.seed, scenario.sealing);
  try {
    const held = await scenario.prepare(hosts);
    const { store, process } = hosts.start(ACTOR, { inject: injectAtCall(mishap.nth, mishap.injection) });
    const died = new Promise<End>((resolve) => process.onEnd(() => resolve({ kind: 'died' })));
    const end = await Promise.race([died, live(scenario, store, held)]);
    if (end.kind === 'failed') throw end.error;
    if (mishap.power) hosts.powerLoss(mishap.power);
    await checkAftermath(scenario, hosts, mishap, end.kind === 'acknowledged');
  } catch (error) {
    throw new Error(`${describe(mishap)}: ${String(error)}\n${hosts.trace.toString()}`, { cause: error });
  }
}

/** A host that lives on does what the port's contract says: the same call again, or, in doubt, a claim first. */
async function live(scenario: Scenario, store: ShareService, known: Hold | undefined): Promise<End> {
  let held = heldBy(store, known);
  let error: unknown;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    try {
      await scenario.act(store, held);
      return { kind: 'acknowledged' };
    } catch (caught) {
      error = caught;
      if (scenario.isDone?.(caught)) return { kind: 'acknowledged' };
      if (caught instanceof MirrorError) expectHonest(caught);
      const inDoubt = asMirrorError(caught).code === 'OUTCOME_UNKNOWN' || !(caught instanceof MirrorError);
      if (inDoubt && known) {
        const outcome = await store.claim({ ...CLAIM, scope: 'own' });
        if (outcome.kind === 'free' && scenario.isFreeWhenDone) return { kind: 'acknowledged' };
        if (outcome.kind === 'claimed') {
          held = heldBy(store, { ...held, epoch: outcome.epoch, next: outcome.epoch + 1 });
        }
      }
    }
  }
  return { kind: 'failed', error };
}

const CLAIM = {
  uuid: UUID,
  reason: 'recover',
  hostExpiryMs: 30_000,
  revive: false,
  shareId: undefined,
} as const;

function expectHonest({ code, next, message }: MirrorError): void {
  const isOfShare = code.startsWith('SHARE_') || code === 'OUTCOME_UNKNOWN';
  if (!isOfShare) throw new Error(`expected an error of the share, got ${code}: ${message}`);
  if (next === '') throw new Error(`${code} does not say what to do next`);
}

function heldBy(store: ShareStore, held: Hold | undefined): Hold {
  return { uuid: UUID, epoch: 0, next: 1, parent: 0, ...held, store };
}

async function checkAftermath(
  scenario: Scenario,
  hosts: VolumeHosts,
  { power, successor }: Mishap,
  acknowledged: boolean,
): Promise<void> {
  await checkParts(hosts);
  const { store } = hosts.start(successor);
  if (!(await isShare(store))) {
    if (acknowledged) throw new Error('G2: the share that was acknowledged is gone');
    await store.initialise({});
  }
  const [before, after] = scenario.head;
  const head = await headNumber(store);
  const allowed = acknowledged ? [after] : [before, after];
  if (!allowed.includes(head)) {
    throw new Error(`G4: the head is ${String(head)}, expected ${allowed.join(' or ')}`);
  }
  if (acknowledged && scenario.isFreeWhenDone && (await read(store))?.holder) {
    throw new Error('the volume that was released has a holder');
  }
  const former = hosts.start(successor === ACTOR ? OTHER : ACTOR).store;
  const lost = await hold(former, 'forced');
  const holder = await hold(store, 'forced');
  if ((await headNumber(store)) !== head) throw new Error('G4: a claim changed the head');
  await publish(holder, 50);
  const late = await tryPublish(lost, 51);
  if (late.kind !== 'fenced') throw new Error('G3: a fenced host published');
  await store.tidy({ uuid: UUID, epoch: holder.epoch, keep: 1 });
  if ((await headNumber(former)) !== 50) throw new Error('G4: the last publish is not the head');
  await checkParts(hosts);
  await checkLeftovers(hosts, scenario.leaves);
  const lines = await store.history({ uuid: UUID });
  const damaged = lines.filter(({ damage }) => damage);
  if (damaged.length > 0) throw new Error(`G1: ${JSON.stringify(damaged)}`);
  const kept = lines.filter(({ kind }) => kind === 'diverged');
  checkKept(scenario, kept, acknowledged, power === undefined);
}

/** What has its parts in another generation has that one beside it. */
async function checkParts({ files }: VolumeHosts): Promise<void> {
  const namesIn = async (directory: string): Promise<GenerationName[]> => {
    const names = await files.readdir('test:readdir', `${VOLUME}/${directory}`).catch(() => []);
    return names.map(parseGenerationName).filter((name) => name !== undefined);
  };
  const gen = await namesIn('gen');
  for (const { slot, epoch, partsIn } of [...gen, ...(await namesIn('diverged'))]) {
    const isThere = gen.some((other) => other.epoch === epoch && other.slot === partsIn && !other.partsIn);
    if (partsIn !== undefined && !isThere) {
      throw new Error(`G1: ${String(partsIn)}, where generation ${String(slot)} has its parts, is gone`);
    }
  }
}

/** After a tidy, `gen/` holds what the log names, and what a diverged copy needs. */
async function checkLeftovers({ files }: VolumeHosts, leaves = 0): Promise<void> {
  const log = await files.readdir('test:readdir', `${VOLUME}/log`);
  const named = await Promise.all(
    log.map((slot) => files.readlink('test:readlink', `${VOLUME}/log/${slot}`)),
  );
  const all = await files.readdir('test:readdir', `${VOLUME}/gen`);
  const left = all.filter((file) => !named.includes(`../gen/${file}`));
  if (left.length > leaves) throw new Error(`left over in gen/: ${left.join(' ')}`);
}

/** Nothing dropped; and of what one host had under one claim, once it is sure to be durable, only the newest is kept. */
function checkKept(
  scenario: Scenario,
  kept: readonly HistoryEntry[],
  acknowledged: boolean,
  removalsStay: boolean,
): void {
  const { keeps = [], keepsWhenDone: newest } = scenario;
  const isKept = (number: number): boolean => kept.some(({ sha256 }) => sha256 === tpmCapture(number).digest);
  if (keeps.length > 0 && !keeps.some(isKept)) throw new Error(`G5: none of ${keeps.join()} is kept`);
  if (newest === undefined || !acknowledged) return;
  if (!isKept(newest)) throw new Error(`G5: ${String(newest)} is not kept`);
  const older = keeps.filter((number) => number !== newest && isKept(number));
  if (removalsStay && older.length > 0) {
    throw new Error(`${older.join()} is kept beside the newer ${String(newest)}`);
  }
}

async function isShare(store: ShareStore): Promise<boolean> {
  try {
    await store.identify({});
    return true;
  } catch (error) {
    if (asMirrorError(error).code === 'SHARE_NOT_INITIALIZED') return false;
    throw error;
  }
}

function describe({ nth, injection, power, successor }: Mishap): string {
  const what = injection.kind === 'fail' ? injection.code : injection.kind;
  const when = injection.executed ? 'after' : 'before';
  return `${what} ${when} call ${String(nth)}, power ${power ?? 'stays'}, then ${successor}`;
}
