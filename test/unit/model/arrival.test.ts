/**
 * What an arrival is believed for, against volumes whose guests are all known: hosts claim, publish, lose the volume by force while their guests run
 * on, hand over, and fail; then one of the guests comes here.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import fc from 'fast-check';
import t from 'tap';
import {
  isOlderThanHead,
  judgeArrival,
  standingOf,
  type ArrivalVerdict,
} from '../../../src/model/arrival.js';
import type { HostName } from '../../../src/model/identifiers.js';
import { START_FAILED, type ClaimReason, type LogEntry } from '../../../src/model/log-entry.js';
import type { RunClaim } from '../../../src/model/run-claim.js';
import { readVolumeLog } from '../../../src/model/volume-log.js';

const [SELF, A, B, C] = ['kvm-self', 'kvm-a', 'kvm-b', 'kvm-c'] as [HostName, HostName, HostName, HostName];
const OTHERS = [A, B, C];

/** One guest of the domain: what of the volume its TPM contains. */
interface LivingGuest {
  host: HostName | undefined;
  readonly contains: Set<number>;
  /** In its live metadata. */
  claim: RunClaim | undefined;
}

/** A volume with everything that is true of it. */
class World {
  readonly entries: LogEntry[] = [];
  readonly guests: LivingGuest[] = [];
  /** What each published generation contains. */
  readonly #content = new Map<number, ReadonlySet<number>>();
  holder: { host: HostName; epoch: number; guest: LivingGuest | undefined } | undefined;

  get log() {
    return readVolumeLog(this.entries);
  }

  /** What the head contains, itself included. */
  get head(): ReadonlySet<number> {
    return this.#content.get(this.log.head?.slot ?? 0) ?? new Set();
  }

  get #next(): number {
    return this.entries.length + 1;
  }

  claim(host: HostName, reason: ClaimReason, from?: HostName): RunClaim {
    const slot = this.#next;
    const token = slot.toString(16).padStart(16, '0');
    this.entries.push({ kind: 'claim', slot, host, token, at: '', reason, ...(from && { from }) });
    this.holder = { host, epoch: slot, guest: this.holder?.host === host ? this.holder.guest : undefined };
    return { host, epoch: slot, token };
  }

  release(reason: string): void {
    if (!this.holder) return;
    const { host, epoch } = this.holder;
    const slot = this.#next;
    this.entries.push({ kind: 'release', slot, host, token: 'f'.repeat(16), at: '', epoch, reason });
    this.holder = undefined;
  }

  /** @param isNoted whether the claim gets into the guest's metadata */
  start(host: HostName, reason: ClaimReason, isNoted: boolean, from?: HostName): void {
    if (this.guests.some((guest) => guest.host === host)) return;
    const claim = this.claim(host, reason, from);
    const guest = { host, contains: new Set(this.head), claim: isNoted ? claim : undefined };
    this.guests.push(guest);
    if (this.holder) this.holder.guest = guest;
  }

  goOn(reason: ClaimReason, isNoted: boolean): void {
    const { holder } = this;
    const guest = holder?.guest;
    if (!holder || guest?.host !== holder.host) return;
    const claim = this.claim(holder.host, reason);
    if (isNoted) guest.claim = claim;
  }

  publish(): void {
    const { holder } = this;
    const guest = holder?.guest;
    if (!holder || guest?.host !== holder.host) return;
    const { host, epoch } = holder;
    const slot = this.#next;
    guest.contains.add(slot);
    this.#content.set(slot, new Set(guest.contains));
    const generation = { slot, epoch, host, digestPrefix: 'a'.repeat(16), nonce: 'b'.repeat(16) };
    this.entries.push({ kind: 'publish', slot, generation });
  }

  end(reason: string): void {
    if (!this.holder) return;
    const { guest } = this.holder;
    if (guest) this.guests.splice(this.guests.indexOf(guest), 1);
    this.release(reason);
  }
}

type Step =
  | { do: 'start' | 'force'; host: HostName; isNoted: boolean }
  | { do: 'fail-start'; host: HostName }
  | { do: 'go-on'; reason: ClaimReason; isNoted: boolean }
  | { do: 'publish' | 'shut-down' | 'hand-over' };

const host = fc.constantFrom(...OTHERS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('start' as const), host, isNoted: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('force' as const), host, isNoted: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail-start' as const), host }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('go-on' as const),
      reason: fc.constantFrom<ClaimReason>('recover', 'compact', 'adopt'),
      isNoted: fc.boolean(),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom('publish' as const, 'publish' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('shut-down' as const, 'hand-over' as const) }) },
);

/** @param traveller a guest that is on its way here and is not to be touched by its host any more */
function take(world: World, step: Step, traveller?: LivingGuest): void {
  switch (step.do) {
    case 'start':
      if (!world.holder) world.start(step.host, 'start', step.isNoted);
      return;
    case 'force':
      if (world.holder && world.holder.host !== step.host) {
        world.start(step.host, 'take-over', step.isNoted, world.holder.host);
      }
      return;
    case 'fail-start':
      if (world.holder) return;
      world.claim(step.host, 'start');
      world.release(START_FAILED);
      return;
    case 'go-on':
      if (!traveller || world.holder?.guest !== traveller) world.goOn(step.reason, step.isNoted);
      else world.claim(world.holder.host, step.reason);
      return;
    case 'publish':
      world.publish();
      return;
    case 'shut-down':
      if (world.holder?.guest !== traveller || !traveller) world.end('shutdown');
      return;
    case 'hand-over':
      if (!world.holder?.guest) return;
      // The holder's own guest goes to a host that is none of these; the traveller came here.
      if (world.holder.guest === traveller) world.release('migrated');
      else world.end('migrated');
      return;
  }
}

interface Arrived {
  readonly verdict: ArrivalVerdict;
  readonly containsHead: boolean;
  readonly wasHolders: boolean;
}

function arrive(
  before: readonly Step[],
  pick: number,
  during: readonly Step[],
  isAlive: boolean,
): Arrived | undefined {
  const world = new World();
  for (const one of before) take(world, one);
  const traveller = world.guests[pick % Math.max(1, world.guests.length)];
  if (!traveller) return undefined;
  const { holder } = world;
  const provenance = {
    claim: traveller.claim,
    source: holder && { slot: holder.epoch, host: holder.host },
    logTop: world.log.top,
  };
  const wasHolders = holder?.guest === traveller;
  traveller.host = undefined;
  for (const one of during) take(world, one, traveller);
  const verdict = judgeArrival(world.log, hostNamed(SELF), provenance, isAlive);
  const containsHead = [...world.head].every((slot) => traveller.contains.has(slot));
  return { verdict, containsHead, wasHolders };
}

t.test('G4: an arrival that is believed has everything that the head has', (t) => {
  const verdicts = { proved: 0, waiting: 0, unproved: 0 };
  let others = 0;
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 14, size: 'max' }),
      fc.nat(3),
      fc.array(step, { maxLength: 5 }),
      fc.boolean(),
      (before, pick, during, isAlive) => {
        const arrived = arrive(before, pick, during, isAlive);
        if (!arrived) return true;
        verdicts[arrived.verdict] += 1;
        if (!arrived.wasHolders) others += 1;
        return arrived.verdict !== 'proved' || arrived.containsHead;
      },
    ),
    { numRuns: 20_000, seed: 20_26 },
  );
  t.ok(
    Object.values(verdicts).every((times) => times > 100),
    JSON.stringify(verdicts),
  );
  t.ok(others > 500, `${String(others)} guests of hosts that had lost the volume`);
  t.end();
});

t.test(
  'the guest of the last holder is believed once its host has spoken, and with its claim without',
  (t) => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 14, size: 'max' }),
        fc.constantFrom('migrated', 'silent', 'alive'),
        (before, end) => {
          const world = new World();
          for (const one of before) take(world, one);
          const { holder } = world;
          const { claim } = holder?.guest ?? {};
          const isFresh = claim?.token === world.log.lastClaim?.token;
          if (!holder || !claim || !isFresh) return;
          const provenance = {
            claim,
            source: { slot: holder.epoch, host: holder.host },
            logTop: world.log.top,
          };
          if (end === 'migrated') world.release('migrated');
          const verdict = judgeArrival(world.log, hostNamed(SELF), provenance, end !== 'silent');
          const expected = end === 'alive' ? 'waiting' : 'proved';
          if (verdict !== expected) throw new Error(`${end}: expected ${expected}, found ${verdict}`);
        },
      ),
      { numRuns: 5_000 },
    );
    t.end();
  },
);

const CLAIM: RunClaim = { host: A, epoch: 1, token: '0000000000000001' };

function worldOf(...steps: readonly ((world: World) => void)[]): World {
  const world = new World();
  world.start(A, 'start', true);
  world.publish();
  for (const one of steps) one(world);
  return world;
}

const handOver = (world: World): void => {
  world.release('migrated');
};
const failedStartHere = (world: World): void => {
  world.claim(SELF, 'start');
  world.release(START_FAILED);
};
const claimHere = (world: World): void => {
  world.claim(SELF, 'take-over', A);
};
const force = (world: World): void => {
  world.start(B, 'forced', true, A);
};

const WITH_CLAIM: [string, RunClaim, World, boolean, ArrivalVerdict][] = [
  ['its source has yet to speak', CLAIM, worldOf(), true, 'waiting'],
  ['its source is silent', CLAIM, worldOf(), false, 'proved'],
  ['its source has handed it over', CLAIM, worldOf(handOver), true, 'proved'],
  ['a start here came first, and was given back', CLAIM, worldOf(handOver, failedStartHere), true, 'proved'],
  ['this host took the volume from its source', CLAIM, worldOf(claimHere), true, 'proved'],
  [
    'its source gave it up for another reason',
    CLAIM,
    worldOf((w) => w.release('shutdown')),
    true,
    'unproved',
  ],
  ['another host took the volume', CLAIM, worldOf(force), false, 'unproved'],
  [
    'another host took the volume, and handed its own guest over',
    CLAIM,
    worldOf(force, handOver),
    true,
    'unproved',
  ],
  [
    'the volume was forced back to its host, whose guest had run on',
    CLAIM,
    worldOf(force, (w) => void w.claim(A, 'forced', B)),
    false,
    'unproved',
  ],
  ['the claim has another token', { ...CLAIM, token: 'abcdabcdabcdabcd' }, worldOf(), false, 'unproved'],
  ['the claim is of another host', { ...CLAIM, host: B }, worldOf(), false, 'unproved'],
  ['the claim is of another slot', { ...CLAIM, epoch: 2 }, worldOf(), false, 'unproved'],
  ['the log is not that far', { ...CLAIM, epoch: 99 }, worldOf(), false, 'unproved'],
];

for (const [name, claim, world, isAlive, expected] of WITH_CLAIM) {
  t.test(`G4: with the claim of a run: ${name}`, (t) => {
    const provenance = { claim, source: undefined, logTop: undefined };
    t.equal(judgeArrival(world.log, hostNamed(SELF), provenance, isAlive), expected);
    t.end();
  });
}

const SOURCE = { slot: 1, host: A };
const WITHOUT_CLAIM: [string, World, number | undefined, boolean, ArrivalVerdict][] = [
  ['its source has yet to speak', worldOf(), 2, true, 'waiting'],
  ['its source is silent: that says nothing', worldOf(), 2, false, 'waiting'],
  ['its source says that it has migrated', worldOf(handOver), 2, true, 'proved'],
  ['its source had said so before it was announced', worldOf(handOver), 3, true, 'unproved'],
  ['the share was away when it was announced', worldOf(handOver), undefined, true, 'unproved'],
  ['its source says that it was shut down', worldOf((w) => w.release('shutdown')), 2, true, 'unproved'],
  ['another host took the volume meanwhile', worldOf(force, handOver), 2, true, 'unproved'],
];

for (const [name, world, logTop, isAlive, expected] of WITHOUT_CLAIM) {
  t.test(`G4: without a claim: ${name}`, (t) => {
    const provenance = { claim: undefined, source: SOURCE, logTop };
    t.equal(judgeArrival(world.log, hostNamed(SELF), provenance, isAlive), expected);
    t.end();
  });
}

t.test('G4: without a claim, the guest of a holder that was replaced may be what came', (t) => {
  const world = worldOf(force);
  const source = { slot: world.log.epoch, host: B };
  const provenance = { claim: undefined, source, logTop: world.log.top };
  world.release('migrated');
  t.equal(judgeArrival(world.log, hostNamed(SELF), provenance, true), 'unproved');
  const [later] = [new World()];
  later.start(A, 'start', false);
  later.publish();
  later.start(B, 'take-over', false, A);
  later.end('shutdown');
  later.guests.length = 0;
  later.start(A, 'start', false);
  later.publish();
  const again = { claim: undefined, source: { slot: later.log.epoch, host: A }, logTop: later.log.top };
  later.release('migrated');
  t.equal(
    judgeArrival(later.log, hostNamed(SELF), again, true),
    'proved',
    'its host has started it anew since',
  );
  t.end();
});

t.test('nobody ever had it: what comes is the first', (t) => {
  const nothing = { claim: undefined, source: undefined, logTop: 0 };
  t.equal(judgeArrival(undefined, hostNamed(SELF), nothing, true), 'proved');
  const failed = new World();
  failed.claim(B, 'start');
  failed.release(START_FAILED);
  t.equal(judgeArrival(failed.log, hostNamed(SELF), nothing, true), 'proved');
  const held = new World();
  held.claim(B, 'start');
  t.equal(
    judgeArrival(held.log, hostNamed(SELF), nothing, true),
    'unproved',
    'another host holds it, and stored nothing yet',
  );
  t.end();
});

t.test('a tombstone, or an entry that cannot be read, ends what a claim stands for', (t) => {
  for (const kind of ['tombstone', 'unknown'] as const) {
    const { entries } = worldOf();
    const slot = entries.length + 1;
    const last: LogEntry =
      kind === 'unknown'
        ? { kind, slot, payload: '?' }
        : { kind, slot, host: A, token: 'e'.repeat(16), at: '', epoch: 1, reason: 'forget' };
    t.equal(
      standingOf(readVolumeLog([...entries, last]), hostNamed(SELF), { slot: 1, ...CLAIM }),
      'lost',
      kind,
    );
  }
  t.end();
});

const OLDER_CASES: [string, boolean, (world: World) => void][] = [
  ['it was saved, and nothing came after', false, (w) => w.end('saved')],
  ['nothing was ever stored after it', false, () => undefined],
  [
    'a start that failed came after',
    false,
    (w) => {
      w.end('saved');
      failedStartHere(w);
    },
  ],
  [
    'a run that stored nothing came after',
    false,
    (w) => {
      w.end('saved');
      w.start(B, 'start', true);
      w.end('shutdown');
    },
  ],
  [
    'its own run went on under later claims',
    false,
    (w) => {
      w.goOn('compact', false);
      w.publish();
      w.end('saved');
    },
  ],
  [
    'its host ran it again',
    true,
    (w) => {
      w.end('saved');
      w.start(A, 'start', true);
      w.publish();
    },
  ],
  [
    'another host ran it',
    true,
    (w) => {
      w.end('saved');
      w.start(B, 'start', true);
      w.publish();
      w.end('shutdown');
    },
  ],
  [
    'another host took it',
    true,
    (w) => {
      force(w);
      w.publish();
    },
  ],
  [
    'its host found it again after its end',
    true,
    (w) => {
      w.end('saved');
      w.start(A, 'adopt', true);
      w.publish();
    },
  ],
];

for (const [name, expected, go] of OLDER_CASES) {
  t.test(`a save file is ${expected ? 'older' : 'not older'} than the head: ${name}`, (t) => {
    const world = worldOf(go);
    t.equal(isOlderThanHead(world.log, CLAIM), expected);
    t.equal(
      isOlderThanHead(world.log, { ...CLAIM, token: 'abcdabcdabcdabcd' }),
      false,
      'another claim proves nothing',
    );
    t.end();
  });
}

t.test('a save file whose claim was pruned is older, or nothing tells that it is not', (t) => {
  const [later, same] = [worldOf((w) => w.end('saved')), worldOf((w) => w.goOn('compact', false))];
  later.start(B, 'start', true);
  for (const world of [later, same]) world.publish();
  const pruned = ({ entries }: World, from: number) =>
    readVolumeLog(entries.filter(({ slot }) => slot >= from));
  t.equal(isOlderThanHead(pruned(later, 4), CLAIM), true);
  t.equal(
    isOlderThanHead(pruned(same, 3), CLAIM),
    true,
    'what its run claimed last stands in its definition',
  );
  t.end();
});
