/**
 * volume-scenarios: what the crash and error sweeps over the volume protocol run: each operation with the share that it begins on, and what
 * must hold whatever went wrong at any of its calls.
 */
import { referring } from '../../src/agent/share/part-references.js';
import type { Sealing } from '../../src/bundle/sealing.js';
import { parseSnapshotName } from '../../src/model/identifiers.js';
import type { ShareService } from '../../src/volume/share-administration.js';
import { fakeSealing } from '../fixtures/sealings.js';
import { claimed, close, diverge, hold, publish, tryPublish, type Hold } from '../fixtures/volume-steps.js';
import { tpmCapture, UUID } from '../fixtures/tpm-captures.js';
import { SHARE, type VolumeHosts } from '../fixtures/volume-hosts.js';
import { injectAt } from '../sim/injection.js';

/** The host whose call is crashed or failed; `OTHER` is the one that comes after it, and `FORMER` one that was there before. */
export const ACTOR = 'kvm-a';
export const OTHER = 'kvm-b';
const FORMER = 'kvm-c';

export interface Scenario {
  readonly name: string;
  /** Guarantees that the scenario puts at risk. */
  readonly guarantees: string;
  /** Brings the share to where the operation begins. @returns what the actor knows; its store is of a life that has ended */
  prepare(hosts: VolumeHosts): Promise<Hold | undefined>;
  /** The operation. It resolves when it is acknowledged. */
  act(store: ShareService, held: Hold): Promise<unknown>;
  /** Whether a second run of the operation says that it took place. */
  readonly isDone?: (error: unknown) => boolean;
  /** What every host encrypts with. */
  readonly sealing?: Sealing;
  /** Numbers of the head's capture before the operation, and once it took place. */
  readonly head: readonly [before: number, after: number];
  /** Captures of which, acknowledged or not, one must be among the diverged copies in the end. */
  readonly keeps?: readonly number[];
  /** Generations that stay at most in the end though no slot names them: diverged copies have their parts there. */
  readonly leaves?: number;
  /** The capture that must be the actor's only diverged copy once the operation was acknowledged. */
  readonly keepsWhenDone?: number;
  /** Whether anybody may claim the volume, without force, once the operation was acknowledged. */
  readonly isFreeWhenDone?: boolean;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'making a share',
    guarantees: 'G1 G2',
    prepare: () => Promise.resolve(undefined),
    act: (store) => store.initialise({}),
    isDone: (error) => error instanceof Error && error.message.includes('is a share already'),
    head: [0, 0],
  },
  {
    name: 'the first claim of a host and of a volume',
    guarantees: 'G1 G4',
    prepare: async (hosts) => {
      await hosts.start(OTHER).store.initialise({});
      return undefined;
    },
    act: (store) => claimed(store, 'free'),
    head: [0, 0],
  },
  {
    name: 'a take-over',
    guarantees: 'G1 G3 G4',
    prepare: async (hosts) => {
      await publish(await held(hosts, FORMER), 1);
      return undefined;
    },
    act: (store) => claimed(store, 'forced'),
    head: [1, 1],
  },
  {
    name: 'a publish',
    guarantees: 'G1 G2 G4',
    prepare: async (hosts) => {
      const holder = await held(hosts, ACTOR);
      await publish(holder, 1);
      return holder;
    },
    act: (store, holder) => publish({ ...holder, store }, 2),
    head: [1, 2],
  },
  {
    name: 'a release',
    guarantees: 'G4',
    prepare: async (hosts) => {
      const holder = await held(hosts, ACTOR);
      await publish(holder, 1);
      return holder;
    },
    act: async (store, holder) => {
      const { kind } = await close({ ...holder, store });
      if (kind === 'fenced') throw new Error('fenced');
    },
    head: [1, 1],
    isFreeWhenDone: true,
  },
  {
    name: 'a publish of a fenced host',
    guarantees: 'G3 G5',
    prepare: fencedActor,
    act: (store, fenced) => expectFenced({ ...fenced, store }, 5),
    head: [3, 3],
    keepsWhenDone: 5,
  },
  {
    name: 'keeping a diverged copy',
    guarantees: 'G3 G5',
    prepare: async (hosts) => {
      const fenced = await fencedActor(hosts);
      await diverge(fenced, 4);
      const torn = `.tmp-00000002-e00000001-${ACTOR}-${tpmCapture(5).digest.slice(0, 16)}-0011223344556677.tar.gz`;
      await hosts.plant(`${SHARE}/volumes/${UUID}/diverged/${torn}`, new Uint8Array(100));
      return fenced;
    },
    act: (store, fenced) => diverge({ ...fenced, store }, 5, 4),
    head: [3, 3],
    keeps: [4, 5],
    keepsWhenDone: 5,
  },
  {
    name: 'a tidy with leftovers of a fenced host and epochs to prune',
    guarantees: 'G1 G3 G4 G5',
    prepare: untidyVolume,
    act: (store, { epoch }) => store.tidy({ uuid: UUID, epoch, keep: 1 }),
    head: [6, 6],
    keeps: [30],
  },
  {
    name: 'a publish of a changed TPM beside an NVRAM that did not change',
    guarantees: 'G1 G2 G4',
    prepare: (hosts) => held(hosts, ACTOR),
    // The second has its NVRAM in the first.
    act: async (store, holder) => {
      const goingOn = { ...holder, store: referring(store) };
      for (const number of [1, 1]) await publish(goingOn, number);
    },
    head: [0, 1],
  },
  {
    name: 'a tidy of epochs whose generations have their NVRAM in one',
    guarantees: 'G1 G4 G5',
    prepare: async (hosts) => {
      const former = await referringHold(hosts, FORMER);
      for (const number of [1, 1, 1, 2, 2]) await publish(former, number);
      const fenced = { ...former };
      const { store } = hosts.start(ACTOR);
      await publish(await hold(store, 'forced'), 3);
      // What lost has its NVRAM in a generation that is about to be pruned.
      await expectFenced(fenced, 2);
      const holder = await hold(store, 'own');
      await publish(holder, 4);
      return holder;
    },
    act: (store, { epoch }) => store.tidy({ uuid: UUID, epoch, keep: 1 }),
    head: [4, 4],
    keeps: [2],
    leaves: 1,
  },
  {
    name: 'a snapshot of a generation that has its NVRAM in another one',
    guarantees: 'G1 G4',
    prepare: async (hosts) => {
      const holder = await referringHold(hosts);
      for (const number of [1, 1]) await publish(holder, number);
      return holder;
    },
    act: (store) => store.pin({ uuid: UUID, slot: 'head', name: parseSnapshotName('kept') }),
    head: [1, 1],
  },
  {
    name: 'encrypting a volume for another key',
    guarantees: 'G1 G2 G4 G5',
    sealing: fakeSealing(['age1new'], ['age1new', 'age1old']),
    prepare: async (hosts) => {
      const { store } = hosts.start(ACTOR, { sealing: fakeSealing(['age1old']) });
      await store.initialise({});
      const holder = await hold(store);
      await publish(holder, 1);
      await publish(holder, 2);
      await diverge(holder, 4);
      return holder;
    },
    act: (store) => store.reseal({ uuid: UUID, after: '', dryRun: false }),
    head: [2, 2],
    keeps: [4],
  },
];

/** The volume, held by a host that writes nothing again that did not change. */
async function referringHold(hosts: VolumeHosts, name = ACTOR): Promise<Hold> {
  const holder = await held(hosts, name);
  return { ...holder, store: referring(holder.store) };
}

async function held(hosts: VolumeHosts, name: string): Promise<Hold> {
  const { store } = hosts.start(name);
  await store.initialise({});
  return await hold(store);
}

/** The actor published 1, and another host took the volume over and published 3. */
async function fencedActor(hosts: VolumeHosts): Promise<Hold> {
  const fenced = await held(hosts, ACTOR);
  await publish(fenced, 1);
  await publish(await hold(hosts.start(FORMER).store, 'forced'), 3);
  return fenced;
}

/** Held by the actor, with a whole generation (30) and a torn temporary file of a host that was fenced in between. */
async function untidyVolume(hosts: VolumeHosts): Promise<Hold> {
  const former = await held(hosts, FORMER);
  for (const number of [1, 2]) await publish(former, number);
  for (const site of ['publish:symlink', 'publish:fsync'] as const) {
    const { store, process } = hosts.start(FORMER, {
      inject: injectAt(site, { kind: 'kill', executed: false }),
    });
    const killed = new Promise<void>((resolve) => process.onEnd(resolve));
    void tryPublish({ ...former, store }, site === 'publish:symlink' ? 30 : 31);
    await killed;
  }
  const { store } = hosts.start(ACTOR);
  await publish(await hold(store, 'forced'), 5);
  const holder = await hold(store, 'own');
  await publish(holder, 6);
  return holder;
}

async function expectFenced(fenced: Hold, number: number): Promise<void> {
  const outcome = await tryPublish(fenced, number);
  if (outcome.kind !== 'fenced') throw new Error(`a fenced host published in slot ${String(outcome.slot)}`);
}
