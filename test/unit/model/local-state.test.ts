/**
 * Whatever is known of a start: local state loses in silence only where it is proved that nothing is lost,
 * and becomes the head only where it is this host's own, or declared to be right.
 */
import fc from 'fast-check';
import t from 'tap';
import { originOf, type LocalOrigin } from '../../../src/model/local-origin.js';
import type { LocalRelation } from '../../../src/model/local-relation.js';
import {
  planRestore,
  type JournalFacts,
  type LocalFacts,
  type LocalStatePolicy,
  type RestoreDecision,
  type RestoreFacts,
} from '../../../src/model/restore-plan.js';
import { STATE_FAULTS } from '../../../src/model/state-fault.js';

const LOCAL = '1'.repeat(64);
const TPM_A = 'a'.repeat(64);
const TPM_B = 'b'.repeat(64);
const SLOT = 10;
const ORIGINS: readonly LocalOrigin[] = ['run', 'placed', 'reverted', 'unknown'];
const RELATIONS: readonly LocalRelation[] = ['same', 'older', 'newer', 'unknown'];
const POLICIES: readonly LocalStatePolicy[] = ['refuse', 'share', 'manager'];

const flag = fc.boolean();
const identity = fc.constantFrom(undefined, TPM_A, TPM_B);

const anyLocal: fc.Arbitrary<LocalFacts> = fc.oneof(
  fc.constant({ kind: 'absent' } as const),
  fc.record({
    kind: fc.constant('faulty' as const),
    fault: fc.constantFrom(...STATE_FAULTS),
    isFromBeforeBoot: flag,
  }),
  fc.record({
    kind: fc.constant('valid' as const),
    digest: fc.constant(LOCAL),
    identity,
    relation: fc.constantFrom(...RELATIONS),
    origin: fc.constantFrom(...ORIGINS),
    changedSince: fc.constantFrom(undefined, false, true),
    tpmIsHeads: fc.constant(false),
    hasNews: flag,
    isTooNew: flag,
  }),
);

const anyJournal: fc.Arbitrary<JournalFacts | undefined> = fc.option(
  fc.record({
    slot: fc.constantFrom(0, SLOT - 1, SLOT),
    digest: fc.constantFrom(undefined, LOCAL, '2'.repeat(64)),
    identity,
    ran: flag,
    fenced: flag,
    handedOver: flag,
    rebooted: flag,
  }),
  { nil: undefined },
);

const anyFacts: fc.Arbitrary<RestoreFacts> = fc.record({
  share: fc.constantFrom('verified', 'verified', 'unreachable'),
  volume: fc.oneof(
    fc.constantFrom({ kind: 'absent' } as const, { kind: 'empty' } as const),
    flag.map((localIsHead) => ({ kind: 'damaged', slot: SLOT, localIsHead }) as const),
    fc.record({ kind: fc.constant('whole' as const), slot: fc.constant(SLOT), identity, isTooNew: flag }),
  ),
  tombstoned: fc.constant(false),
  holder: fc.constantFrom('none', 'self', 'other-expired'),
  claimedByAnother: flag,
  local: anyLocal,
  journal: anyJournal,
  spooled: flag,
  localIsSpooled: flag,
  announced: fc.constant('no' as const),
  policy: fc.record({
    withoutShare: fc.constantFrom('refuse', 'last-known'),
    takeOver: fc.constant('expired' as const),
    damagedHead: fc.constantFrom('refuse', 'previous'),
    localState: fc.constantFrom(...POLICIES, undefined),
  }) as fc.Arbitrary<RestoreFacts['policy']>,
});

/** What takes the local state's place without a copy on the share, and without a word. */
const SILENT: readonly RestoreDecision['kind'][] = [
  'restore-head',
  'restore-previous',
  'restore-spooled',
  'start-new',
  'restore-carried',
];

function isProvedWorthless({ local, journal }: RestoreFacts): boolean {
  if (local.kind === 'absent') return true;
  if (local.kind === 'faulty') {
    return local.fault === 'torn' || (local.fault === 'zeroed' && local.isFromBeforeBoot === true);
  }
  const wasPublished = journal?.digest === local.digest;
  const isOlder = local.relation === 'older' && local.origin !== 'placed';
  return (wasPublished || isOlder) && !local.hasNews;
}

function check(name: string, holds: (facts: RestoreFacts, decision: RestoreDecision) => boolean): void {
  t.test(name, async (t) => {
    fc.assert(
      fc.property(anyFacts, (facts) => holds(facts, planRestore(facts))),
      { numRuns: 20_000 },
    );
    t.pass();
  });
}

check(
  'G5: whatever the facts, a decision that replaces local state in silence has one of the proofs',
  (facts, { kind }) => {
    if (!SILENT.includes(kind)) return true;
    // An older generation in place of a damaged head: the local state is what this host last had.
    const isOwnDamaged = kind === 'restore-previous' && facts.local.kind === 'valid';
    return isProvedWorthless(facts) || (isOwnDamaged && facts.journal?.digest === LOCAL);
  },
);

check('G5: what is not understood, or cannot be read, is refused, whatever else is known', (facts, it) => {
  const { local } = facts;
  if (local.kind !== 'faulty' || local.fault === 'torn') return true;
  return it.kind === 'refuse' || (local.fault === 'zeroed' && local.isFromBeforeBoot === true);
});

check('G4: a placed state becomes the head only where the manager was declared to be right', (facts, it) => {
  const { local, policy, volume } = facts;
  const isHead = local.kind === 'valid' && local.relation === 'same';
  if (local.kind !== 'valid' || local.origin !== 'placed' || volume.kind !== 'whole' || isHead) return true;
  if (policy.localState === 'manager') return true;
  return !['keep-local', 'keep-placed', 'adopt-local', 'keep-unverified'].includes(it.kind);
});

check(
  'G4: what the last run left, or what came before it, is never newer than the head for its time',
  ({ local, volume, policy, share }, { kind }) => {
    if (local.kind !== 'valid' || volume.kind !== 'whole' || share !== 'verified') return true;
    if (local.relation === 'same' || policy.localState === 'manager') return true;
    const isOfARun = local.origin === 'run' || local.origin === 'reverted';
    return !isOfARun || !['keep-local', 'keep-placed', 'adopt-local'].includes(kind);
  },
);

check('G8: another TPM on this host’s disk is never replaced without a word', (facts, { kind }) => {
  const { local, volume } = facts;
  if (local.kind !== 'valid' || volume.kind !== 'whole' || local.relation === 'older') return true;
  const { identity, relation } = local;
  if (relation === 'same' || !identity || !volume.identity || identity === volume.identity) return true;
  return !['restore-head', 'keep-diverged-restore-head'].includes(kind);
});

check('a placed state is never overruled, or taken for the head, by default', (facts, { kind }) => {
  const { policy, share } = facts;
  if ((policy.localState ?? 'refuse') !== 'refuse' || share !== 'verified') return true;
  return kind !== 'keep-placed' && kind !== 'restore-over-placed';
});

check('G8: another TPM never becomes the head for being placed', ({ local, volume }, { kind }) => {
  if (kind !== 'keep-placed' || local.kind !== 'valid' || volume.kind !== 'whole') return true;
  const isOther =
    local.identity !== undefined && volume.identity !== undefined && local.identity !== volume.identity;
  return !isOther || local.relation === 'older';
});

check('nothing starts from what this host cannot read', ({ local, volume }, { kind }) => {
  const fromLocal = ['keep-local', 'keep-placed', 'adopt-local', 'keep-unverified'].includes(kind);
  if (fromLocal) return !(local.kind === 'valid' && local.isTooNew);
  const fromHead = ['restore-head', 'restore-over-placed', 'keep-diverged-restore-head'].includes(kind);
  return !(fromHead && volume.kind === 'whole' && volume.isTooNew);
});

check('what only other parts differ in is nobody’s placed state', (facts) => {
  if (facts.local.kind !== 'valid') return true;
  const local = { ...facts.local, tpmIsHeads: true, origin: 'unknown' as const };
  const decision = planRestore({
    ...facts,
    local,
    volume: { kind: 'whole', slot: SLOT, identity: undefined },
  });
  return !(decision.kind === 'refuse' && decision.code === 'STATE_PLACED');
});

const QUIET: RestoreFacts = {
  share: 'verified',
  volume: { kind: 'whole', slot: SLOT, identity: TPM_A },
  tombstoned: false,
  holder: 'none',
  claimedByAnother: false,
  local: { kind: 'absent' },
  journal: {
    slot: SLOT,
    digest: '2'.repeat(64),
    identity: TPM_A,
    ran: false,
    fenced: false,
    rebooted: false,
  },
  spooled: false,
  announced: 'no',
  policy: { withoutShare: 'refuse', takeOver: 'expired', damagedHead: 'refuse' },
};

type Valid = Extract<LocalFacts, { kind: 'valid' }>;

function outcome(local: Partial<Valid>, facts: Partial<RestoreFacts>, localState: LocalStatePolicy): string {
  const decision = planRestore({
    ...QUIET,
    ...facts,
    local: { kind: 'valid', digest: LOCAL, identity: TPM_A, relation: 'older', ...local },
    policy: { ...QUIET.policy, localState },
  });
  return decision.kind === 'refuse' ? decision.code : decision.kind;
}

/** By policy: refuse, share, manager. */
const TABLE: readonly [string, Partial<Valid>, Partial<RestoreFacts>, readonly [string, string, string]][] = [
  [
    'a backup tool put an older generation back after the last run here',
    { origin: 'placed', relation: 'older' },
    {},
    ['STATE_PLACED', 'restore-over-placed', 'keep-placed'],
  ],
  [
    'a state that was never published was put there',
    { origin: 'placed', relation: 'newer' },
    {},
    ['STATE_PLACED', 'restore-over-placed', 'keep-placed'],
  ],
  [
    'the same on a host that lost the VM to another since',
    { origin: 'placed', relation: 'unknown' },
    { claimedByAnother: true },
    ['STATE_PLACED', 'restore-over-placed', 'keep-placed'],
  ],
  [
    'another TPM was put there',
    { origin: 'placed', relation: 'unknown', identity: TPM_B },
    {},
    ['FOREIGN_TPM', 'restore-over-placed', 'FOREIGN_TPM'],
  ],
  [
    'a manager put its copy on a host that never ran the VM',
    { relation: 'unknown' },
    { journal: undefined },
    ['STATE_PLACED', 'restore-over-placed', 'keep-placed'],
  ],
  [
    'an older generation lies on a host that never ran the VM',
    { relation: 'older' },
    { journal: undefined },
    ['restore-head', 'restore-head', 'keep-placed'],
  ],
  [
    'what the last run here left, and the VM ran elsewhere since',
    { origin: 'run', relation: 'older' },
    { claimedByAnother: true },
    ['restore-head', 'restore-head', 'restore-head'],
  ],
  [
    'what a fenced run here left is a diverged copy, and its file is younger than the head',
    { origin: 'run', relation: 'newer', changedSince: false },
    {},
    ['keep-diverged-restore-head', 'keep-diverged-restore-head', 'keep-diverged-restore-head'],
  ],
  [
    'a power loss took the disk back to before what a fenced run here left',
    { origin: 'reverted', relation: 'newer', changedSince: false },
    {},
    ['keep-diverged-restore-head', 'keep-diverged-restore-head', 'keep-diverged-restore-head'],
  ],
  [
    'a fenced run here left another TPM than the head',
    { origin: 'run', relation: 'unknown', identity: TPM_B, changedSince: false },
    {},
    ['FOREIGN_TPM', 'FOREIGN_TPM', 'FOREIGN_TPM'],
  ],
  [
    'a power loss took the disk back',
    { origin: 'reverted', relation: 'older' },
    {},
    ['restore-head', 'restore-head', 'restore-head'],
  ],
  [
    'the agent died while the VM ran on',
    { origin: 'unknown', relation: 'newer' },
    { holder: 'self', journal: { ...QUIET.journal!, ran: true } },
    ['keep-local', 'keep-local', 'keep-local'],
  ],
  [
    'an old TPM beside newer NVRAM',
    { origin: 'reverted', relation: 'older', hasNews: true },
    {},
    ['keep-diverged-restore-head', 'keep-diverged-restore-head', 'keep-diverged-restore-head'],
  ],
];

for (const [name, local, facts, expected] of TABLE) {
  t.test(name, async (t) => {
    t.strictSame(
      POLICIES.map((policy) => outcome(local, facts, policy)),
      expected,
    );
  });
}

t.test(
  'without the share a placed state starts only where the manager was declared to be right',
  async (t) => {
    const facts: Partial<RestoreFacts> = { share: 'unreachable', volume: { kind: 'absent' } };
    const plan = (localState: LocalStatePolicy): string => {
      const policy = { ...QUIET.policy, withoutShare: 'last-known', localState } as const;
      const local = {
        kind: 'valid',
        digest: LOCAL,
        identity: TPM_A,
        relation: 'unknown',
        origin: 'placed',
      } as const;
      const decision = planRestore({ ...QUIET, ...facts, local, policy });
      return decision.kind === 'refuse' ? decision.code : decision.kind;
    };
    t.strictSame(POLICIES.map(plan), ['STATE_PLACED', 'STATE_PLACED', 'keep-unverified']);
  },
);

t.test('placed is said only of what no run and no power loss can have left', async () => {
  const origins = fc.record({
    localTpm: fc.constantFrom('x', 'y'),
    finalTpm: fc.constantFrom(undefined, 'x'),
    isJournalled: flag,
    isFromBeforeBoot: flag,
    changedSince: fc.constantFrom(undefined, false, true),
    isBehindOwnHead: flag,
  });
  fc.assert(
    fc.property(origins, (facts) => {
      const origin = originOf(facts);
      const { localTpm, finalTpm, isJournalled, isFromBeforeBoot, changedSince, isBehindOwnHead } = facts;
      if (localTpm === finalTpm || isJournalled) return origin === 'run';
      if (finalTpm === undefined && origin === 'reverted') return false;
      if (origin !== 'placed') return changedSince !== true && !isBehindOwnHead;
      return isBehindOwnHead || changedSince === true || (!isFromBeforeBoot && finalTpm !== undefined);
    }),
    { numRuns: 2000 },
  );
});
