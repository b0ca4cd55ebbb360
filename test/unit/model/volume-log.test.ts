/**
 * The meaning of a log: against an oracle that watches hosts race for its slots, and under every cut and every late arrival.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import fc from 'fast-check';
import t from 'tap';
import type { GenerationName, Slot } from '../../../src/model/generation-name.js';
import { parseHostName, type HostName } from '../../../src/model/identifiers.js';
import { formatPayload, parsePayload, type LogEntry } from '../../../src/model/log-entry.js';
import {
  claimedByAnother,
  needsCompaction,
  pruneBoundary,
  readVolumeLog,
  type VolumeLog,
} from '../../../src/model/volume-log.js';

const HOSTS = ['kvm-a', 'kvm-b', 'kvm-c'].map(parseHostName);

type Written = Exclude<LogEntry, { kind: 'unknown' }>;

let nonces = 0;

function nextNonce(): string {
  return (++nonces).toString(16).padStart(16, '0');
}

function claimAt(slot: Slot, host: HostName = HOSTS[0]!): Written {
  return { kind: 'claim', slot, host, token: nextNonce(), at: '', reason: 'start' };
}

function publishAt(slot: Slot, epoch: Slot, host: HostName = HOSTS[0]!): Written {
  return {
    kind: 'publish',
    slot,
    generation: { slot, epoch, host, digestPrefix: nextNonce(), nonce: nextNonce() },
  };
}

function closeAt(
  slot: Slot,
  epoch: Slot,
  kind: 'release' | 'tombstone' = 'release',
  host: HostName = HOSTS[0]!,
): Written {
  return { kind, slot, epoch, host, token: nextNonce(), at: '', reason: 'stop' };
}

/** What a host believes of its own claim. */
interface Belief {
  readonly epoch: Slot;
  readonly next: Slot;
}

/** Hosts on one share, and beside it an oracle that is told of each commit at the moment it takes place. */
class Race {
  readonly slots = new Map<Slot, LogEntry>();
  holder: { host: HostName; epoch: Slot } | undefined;
  head: GenerationName | undefined;
  readonly #beliefs = new Map<HostName, Belief>();
  readonly #lastEpochs = new Map<HostName, Slot>();
  readonly #underWay: Written[] = [];
  #top: Slot = 0;

  get log(): VolumeLog {
    return readVolumeLog([...this.slots.values()].reverse());
  }

  claim(host: HostName): void {
    const slot = this.#top + 1;
    this.#commit(claimAt(slot, host));
    this.#beliefs.set(host, { epoch: slot, next: slot + 1 });
    this.#lastEpochs.set(host, slot);
  }

  publish(host: HostName): void {
    this.#asHolder(host, ({ epoch, next }) => publishAt(next, epoch, host));
  }

  close(host: HostName, kind: 'release' | 'tombstone'): void {
    if (this.#asHolder(host, ({ epoch, next }) => closeAt(next, epoch, kind, host))) {
      this.#beliefs.delete(host);
    }
  }

  /** The commit is sent and neither the host nor the share knows when it will arrive. */
  lose(host: HostName, isPublish: boolean): void {
    const belief = this.#beliefs.get(host);
    if (!belief) return;
    this.#beliefs.delete(host);
    this.#underWay.push(
      isPublish
        ? publishAt(belief.next, belief.epoch, host)
        : closeAt(belief.next, belief.epoch, 'release', host),
    );
  }

  /** A claim that is under way from the top as it is now. */
  loseClaim(host: HostName): void {
    this.#underWay.push(claimAt(this.#top + 1, host));
  }

  arrive(which: number): void {
    const [entry] = this.#underWay.splice(which % Math.max(1, this.#underWay.length), 1);
    if (entry) this.#commit(entry);
  }

  /** Breaks the protocol: publishes in the next free slot under an epoch that it held once. */
  defy(host: HostName): void {
    const epoch = this.#lastEpochs.get(host);
    if (epoch !== undefined) this.#commit(publishAt(this.#top + 1, epoch, host));
  }

  prune(keep: number): void {
    const boundary = pruneBoundary(this.log, keep);
    for (const slot of [...this.slots.keys()]) if (slot < boundary) this.slots.delete(slot);
  }

  #asHolder(host: HostName, entryOf: (belief: Belief) => Written): boolean {
    const belief = this.#beliefs.get(host);
    if (!belief) return false;
    const committed = this.#commit(entryOf(belief));
    if (committed) this.#beliefs.set(host, { ...belief, next: belief.next + 1 });
    else this.#beliefs.delete(host);
    return committed;
  }

  /** One exclusive create. A slot that was pruned is free again, and what lands there came too late. */
  #commit(entry: Written): boolean {
    if (this.slots.has(entry.slot)) return false;
    this.slots.set(entry.slot, parsePayload(entry.slot, formatPayload(entry)));
    if (entry.slot <= this.#top) return true;
    this.#top = entry.slot;
    this.#witness(entry);
    return true;
  }

  #witness(entry: Written): void {
    if (entry.kind === 'claim') this.holder = { host: entry.host, epoch: entry.slot };
    else if (entry.kind === 'publish') {
      if (entry.generation.epoch === this.holder?.epoch) this.head = entry.generation;
    } else if (entry.epoch === this.holder?.epoch) this.holder = undefined;
  }
}

const anyHost = fc.constantFrom(...HOSTS);
const anyMove = fc.oneof(
  { weight: 3, arbitrary: anyHost.map((host) => (race: Race) => race.claim(host)) },
  { weight: 6, arbitrary: anyHost.map((host) => (race: Race) => race.publish(host)) },
  fc.tuple(anyHost, fc.constantFrom('release', 'tombstone')).map(
    ([host, kind]) =>
      (race: Race) =>
        race.close(host, kind),
  ),
  {
    weight: 2,
    arbitrary: fc.tuple(anyHost, fc.boolean()).map(
      ([host, isPublish]) =>
        (race: Race) =>
          race.lose(host, isPublish),
    ),
  },
  anyHost.map((host) => (race: Race) => race.loseClaim(host)),
  { weight: 3, arbitrary: fc.nat(9).map((which) => (race: Race) => race.arrive(which)) },
  anyHost.map((host) => (race: Race) => race.defy(host)),
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }).map((keep) => (race: Race) => race.prune(keep)) },
);

t.test(
  'G3, G4: however hosts race, die, prune and arrive late, holder and head are those that commits made',
  async () => {
    fc.assert(
      fc.property(fc.array(anyMove, { minLength: 1, maxLength: 60, size: 'max' }), (moves) => {
        const race = new Race();
        for (const move of moves) {
          move(race);
          const { holder, head } = race.log;
          if (holder?.epoch !== race.holder?.epoch || holder?.host !== race.holder?.host) return false;
          if (head?.nonce !== race.head?.nonce) return false;
        }
        return true;
      }),
      { numRuns: 1500 },
    );
  },
);

/** Any log at all, also one that no correct host would write. */
const anyLog: fc.Arbitrary<LogEntry[]> = fc
  .array(
    fc.tuple(
      fc.constantFrom('claim', 'publish', 'publish', 'release', 'tombstone', 'unknown'),
      anyHost,
      fc.nat(6),
    ),
    { maxLength: 30, size: 'max' },
  )
  .map((rows) =>
    rows.map(([kind, host, back], at): LogEntry => {
      const slot = at + 1;
      const epoch = Math.max(1, slot - 1 - back);
      if (kind === 'claim' || slot === 1) return claimAt(slot, host);
      if (kind === 'unknown') return { kind, slot, payload: '?' };
      return kind === 'publish' ? publishAt(slot, epoch, host) : closeAt(slot, epoch, kind, host);
    }),
  );
const anyLogAndPlace = fc.tuple(anyLog, fc.nat(31));

function above(entries: readonly LogEntry[], slot: Slot): Slot[] {
  return entries.map((entry) => entry.slot).filter((other) => other > slot);
}

/** What a log says of everything above a slot. */
function meaningAbove(log: VolumeLog, slot: Slot): unknown {
  return [
    above(log.published, slot),
    above(log.diverged, slot),
    log.holder,
    log.lastClaim,
    log.tombstone,
    log.epoch,
    log.top,
  ];
}

function firstClaim(entries: readonly LogEntry[]): Slot | undefined {
  return entries.find((entry) => entry.kind === 'claim')?.slot;
}

t.test('I1: what comes later never changes what an entry means', async (t) => {
  const check = (entries: LogEntry[], length: number): void => {
    const before = readVolumeLog(entries.slice(0, length));
    const after = readVolumeLog(entries);
    const upTo = (list: readonly LogEntry[]): LogEntry[] => list.filter((entry) => entry.slot <= length);
    t.strictSame([upTo(after.published), upTo(after.diverged)], [before.published, before.diverged]);
  };
  fc.assert(fc.property(anyLogAndPlace, ([entries, length]) => check(entries, length)));
});

t.test('I2: cutting the bottom off changes nothing above the first claim that remains', async (t) => {
  const check = (entries: LogEntry[], cut: number): void => {
    const rest = entries.slice(cut);
    const claim = firstClaim(rest);
    if (claim !== undefined) {
      t.strictSame(meaningAbove(readVolumeLog(rest), claim), meaningAbove(readVolumeLog(entries), claim));
    }
  };
  fc.assert(fc.property(anyLogAndPlace, ([entries, cut]) => check(entries, cut)));
});

t.test('I3: whatever arrives below the first claim that remains changes nothing above it', async (t) => {
  const check = (entries: LogEntry[], cut: number, late: LogEntry[]): void => {
    const rest = entries.slice(cut);
    const claim = firstClaim(rest);
    if (claim === undefined) return;
    const taken = new Set(rest.map((entry) => entry.slot));
    const arrived = late.filter((entry) => entry.slot < claim && !taken.has(entry.slot));
    t.strictSame(
      meaningAbove(readVolumeLog([...rest, ...arrived]), claim),
      meaningAbove(readVolumeLog(rest), claim),
    );
  };
  fc.assert(fc.property(anyLogAndPlace, anyLog, ([entries, cut], late) => check(entries, cut, late)));
});

t.test('the order in which entries are found does not matter', async (t) => {
  const shuffled = anyLog.chain((entries) =>
    fc.tuple(fc.constant(entries), fc.shuffledSubarray(entries, { minLength: entries.length })),
  );
  fc.assert(
    fc.property(
      shuffled,
      ([entries, found]) => void t.strictSame(readVolumeLog(found), readVolumeLog(entries)),
    ),
  );
});

t.test('G4: pruning keeps head, holder and the generations that it was told to keep', async (t) => {
  const check = (entries: LogEntry[], keep: number): void => {
    const log = readVolumeLog(entries);
    const boundary = pruneBoundary(log, keep);
    const pruned = readVolumeLog(entries.filter((entry) => entry.slot >= boundary));
    t.equal(boundary === 0, log.head === undefined);
    if (boundary > 0) {
      t.match(pruned.entries[0], { kind: 'claim', slot: boundary }, 'the log begins with a claim');
    }
    t.strictSame([pruned.head, pruned.holder, pruned.tombstone], [log.head, log.holder, log.tombstone]);
    const kept = log.published.slice(-keep);
    t.strictSame(pruned.published.slice(-keep), kept);
    const surplus = pruned.published.filter((entry) => !kept.includes(entry));
    t.ok(
      surplus.every((entry) => entry.generation.epoch === kept[0]?.generation.epoch),
      'beyond them, only what shares an epoch with one',
    );
    t.equal(pruneBoundary(pruned, keep), boundary, 'nothing is left to prune');
  };
  fc.assert(fc.property(anyLog, fc.integer({ min: 1, max: 8 }), check));
});

t.test('an empty log has nothing and nobody', async (t) => {
  t.strictSame(readVolumeLog([]), {
    entries: [],
    top: 0,
    epoch: 0,
    holder: undefined,
    lastClaim: undefined,
    tombstone: undefined,
    published: [],
    head: undefined,
    diverged: [],
  });
  t.equal(pruneBoundary(readVolumeLog([]), 1), 0);
  t.equal(pruneBoundary(readVolumeLog([]), 0), 0);
});

t.test(
  'G3: a publish of an epoch that is over is diverged, also of the epoch that was released just before it',
  async (t) => {
    const [first, late, afterRelease] = [publishAt(2, 1), publishAt(4, 1), publishAt(6, 3)];
    const log = readVolumeLog([claimAt(1), first, claimAt(3, HOSTS[1]), late, closeAt(5, 3), afterRelease]);
    t.strictSame(
      [log.published, log.diverged, log.head],
      [[first], [late, afterRelease], first.kind === 'publish' && first.generation],
    );
  },
);

t.test('a late release of an epoch that is over does not release the next holder', async (t) => {
  const log = readVolumeLog([claimAt(1), claimAt(2, HOSTS[1]), closeAt(3, 1)]);
  t.match(log.holder, { host: 'kvm-b', epoch: 2 });
});

t.test('a tombstone ends its epoch, and a claim revives the volume', async (t) => {
  const entries = [claimAt(1), publishAt(2, 1), closeAt(3, 1, 'tombstone')];
  const buried = readVolumeLog(entries);
  t.match(buried, { holder: undefined, tombstone: { slot: 3 }, head: { slot: 2 } });
  t.match(readVolumeLog([...entries, claimAt(4)]), {
    holder: { epoch: 4 },
    tombstone: undefined,
    head: { slot: 2 },
  });
});

t.test('a volume that one host publishes to for ever keeps a bounded log', async (t) => {
  const keep = 4;
  let entries: LogEntry[] = [claimAt(1)];
  let longest = 0;
  for (let round = 0; round < 500; round++) {
    const { top, epoch } = readVolumeLog(entries);
    entries.push(publishAt(top + 1, epoch));
    if (needsCompaction(readVolumeLog(entries), keep)) entries.push(claimAt(top + 2));
    const boundary = pruneBoundary(readVolumeLog(entries), keep);
    entries = entries.filter((entry) => entry.slot >= boundary);
    longest = Math.max(longest, entries.length);
  }
  t.ok(longest <= 4 * keep, `${longest} entries at most`);
  t.ok(readVolumeLog(entries).published.length >= keep);
});

t.test('G4: told to keep nothing, pruning keeps the head', async (t) => {
  const log = readVolumeLog([claimAt(1), publishAt(2, 1), claimAt(3), publishAt(4, 3)]);
  t.equal(pruneBoundary(log, 0), 3);
});

t.test('only the holder compacts', async (t) => {
  const entries = [claimAt(1), publishAt(2, 1), publishAt(3, 1)];
  t.equal(needsCompaction(readVolumeLog(entries), 1), true);
  t.equal(needsCompaction(readVolumeLog(entries), 2), false);
  t.equal(needsCompaction(readVolumeLog([...entries, closeAt(4, 1)]), 1), false);
});

t.test('another host claimed: only claims of others, and only those after the given slot', async (t) => {
  const log = readVolumeLog([claimAt(1, HOSTS[1]), claimAt(2), publishAt(3, 2), claimAt(4), closeAt(5, 4)]);
  t.equal(claimedByAnother(log, hostNamed(HOSTS[0]!), 0), true);
  t.equal(claimedByAnother(log, hostNamed(HOSTS[0]!), 1), false);
  t.equal(claimedByAnother(log, hostNamed(HOSTS[1]!), 2), true);
  t.equal(claimedByAnother(log, hostNamed(HOSTS[1]!), 4), false);
});

t.test('G3: an entry of another host counts for nothing in an epoch that has its number by chance', (t) => {
  const [a, b] = HOSTS as [HostName, HostName];
  const entries = [claimAt(1, b), publishAt(2, 1, b), publishAt(3, 1, a), closeAt(4, 1, 'release', a)];
  t.match(readVolumeLog(entries), {
    head: { slot: 2, host: b },
    holder: { host: b, epoch: 1 },
    diverged: [{ slot: 3 }],
  });
  t.end();
});
