/**
 * The plan over every combination of what it can be told, against rules that are stated here on their own; then each row of the protocol's
 * table as a scenario.
 */
import t from 'tap';
import type { LocalRelation } from '../../../src/model/local-relation.js';
import {
  mustFinishFirst,
  planRestore,
  type CarriedFacts,
  type JournalFacts,
  type LocalFacts,
  type RestoreDecision,
  type RestoreFacts,
  type SharePresence,
  type VolumeFacts,
} from '../../../src/model/restore-plan.js';

const HEAD_SLOT = 10;
const LOCAL_DIGEST = '1'.repeat(64);
const OTHER_DIGEST = '2'.repeat(64);
const TPM_A = 'a'.repeat(64);
const TPM_B = 'b'.repeat(64);

const BOTH = [false, true] as const;
const SHARES: readonly SharePresence[] = ['verified', 'unreachable', 'not-initialized', 'wrong'];
const RELATIONS: readonly LocalRelation[] = ['same', 'older', 'newer', 'unknown'];
const HOLDERS = ['none', 'self', 'other-alive', 'other-expired'] as const;
const VOLUMES: readonly VolumeFacts[] = [
  { kind: 'absent' },
  { kind: 'empty' },
  ...[undefined, TPM_A, TPM_B].map((identity) => ({ kind: 'whole', slot: HEAD_SLOT, identity }) as const),
  ...BOTH.map((localIsHead) => ({ kind: 'damaged', slot: HEAD_SLOT, localIsHead }) as const),
];
const JOURNALS: readonly (JournalFacts | undefined)[] = [
  undefined,
  ...[0, HEAD_SLOT, HEAD_SLOT + 1].flatMap((slot) =>
    [undefined, LOCAL_DIGEST, OTHER_DIGEST].flatMap((digest) =>
      [undefined, TPM_A, TPM_B].flatMap((identity) => [
        ...BOTH.flatMap((ran) => BOTH.map((fenced) => ({ slot, digest, identity, ran, fenced }))),
        { slot, digest, identity, ran: false, fenced: false, handedOver: true },
        ...(['not-understood', 'unreadable'] as const)
          .filter(() => slot === HEAD_SLOT)
          .map((unstored) => ({ slot, digest, identity, ran: true, fenced: false, unstored })),
      ]),
    ),
  ),
];
const POLICIES: readonly RestoreFacts['policy'][] = (['refuse', 'last-known'] as const).flatMap(
  (withoutShare) =>
    (['expired', 'never'] as const).flatMap((takeOver) =>
      (['refuse', 'previous'] as const).map((damagedHead) => ({ withoutShare, takeOver, damagedHead })),
    ),
);

/** Local state stands in a known relation only to a head that can be read. */
function localSides(volume: VolumeFacts): LocalFacts[] {
  const relations = volume.kind === 'whole' ? RELATIONS : (['unknown'] as const);
  const valid = [undefined, TPM_A].flatMap((identity) =>
    relations.map((relation) => ({ kind: 'valid', digest: LOCAL_DIGEST, identity, relation }) as const),
  );
  const faulty = (['torn', 'not-understood'] as const).map((fault) => ({ kind: 'faulty', fault }) as const);
  return [{ kind: 'absent' }, ...faulty, ...valid];
}

/** Everything about a volume that cannot be seen is absent. */
function* volumeSides(): Generator<
  Pick<RestoreFacts, 'share' | 'volume' | 'tombstoned' | 'holder' | 'claimedByAnother'>
> {
  for (const share of SHARES) {
    if (share !== 'verified') {
      yield { share, volume: { kind: 'absent' }, tombstoned: false, holder: 'none', claimedByAnother: false };
      continue;
    }
    for (const volume of VOLUMES) {
      for (const tombstoned of BOTH) {
        for (const holder of HOLDERS) {
          for (const claimedByAnother of BOTH) yield { share, volume, tombstoned, holder, claimedByAnother };
        }
      }
    }
  }
}

function forEveryCombination(
  announced: RestoreFacts['announced'],
  visit: (facts: RestoreFacts) => void,
  carried: CarriedFacts = 'none',
): number {
  let count = 0;
  for (const { share, volume, tombstoned, holder, claimedByAnother } of volumeSides()) {
    for (const local of localSides(volume)) {
      for (const journal of JOURNALS) {
        for (const spooled of BOTH) {
          for (const policy of POLICIES) {
            // Written out, because a spread costs more here than the plan.
            visit({
              share,
              volume,
              tombstoned,
              holder,
              claimedByAnother,
              local,
              journal,
              spooled,
              carried,
              announced,
              policy,
            });
            count++;
          }
        }
      }
    }
  }
  return count;
}

/** What the rules ask of the facts, in words of their own. */
interface Meaning {
  readonly facts: RestoreFacts;
  readonly kind: RestoreDecision['kind'];
  readonly verified: boolean;
  /** Local state, if it is valid. */
  readonly valid: Extract<LocalFacts, { kind: 'valid' }> | undefined;
  readonly anotherHadIt: boolean;
  readonly localIsHead: boolean;
  readonly localWasPublished: boolean;
  readonly localIsAnotherTpm: boolean;
  readonly aTpmExisted: boolean;
}

function meaningOf(facts: RestoreFacts, { kind }: RestoreDecision): Meaning {
  const { volume, local, holder, journal } = facts;
  const valid = local.kind === 'valid' ? local : undefined;
  const whole = volume.kind === 'whole';
  return {
    facts,
    kind,
    verified: facts.share === 'verified',
    valid,
    anotherHadIt: holder.startsWith('other') || facts.claimedByAnother || journal?.fenced === true,
    localIsHead:
      valid !== undefined &&
      (whole ? valid.relation === 'same' : volume.kind === 'damaged' && volume.localIsHead),
    localWasPublished:
      valid !== undefined && (journal?.digest === valid.digest || (whole && valid.relation === 'older')),
    localIsAnotherTpm: whole && differ(valid?.identity, volume.identity),
    aTpmExisted: doesVolumeSaySo(facts) || doesThisHostSaySo(facts),
  };
}

function differ(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other;
}

function doesVolumeSaySo({ volume, tombstoned, holder, journal }: RestoreFacts): boolean {
  const openClaim = holder.startsWith('other') || (holder === 'self' && journal === undefined);
  return volume.kind === 'whole' || volume.kind === 'damaged' || tombstoned || openClaim;
}

function doesThisHostSaySo({ local, journal, spooled }: RestoreFacts): boolean {
  if (local.kind !== 'absent' || spooled) return true;
  if (journal === undefined) return false;
  const { slot, digest, identity, ran, fenced, handedOver = false } = journal;
  return slot > 0 || digest !== undefined || identity !== undefined || ran || fenced || handedOver;
}

const STAYS_LOCAL: ReadonlySet<RestoreDecision['kind']> = new Set([
  'adopt-local',
  'keep-local',
  'keep-placed',
  'keep-unverified',
  'refuse',
]);

/** For starts that are no migration. */
const RULES: Readonly<Record<string, (meaning: Meaning) => boolean>> = {
  'G8: a blank TPM starts only on a verified share, when nothing says that there was a TPM': ({
    kind,
    verified,
    aTpmExisted,
  }) => kind !== 'start-new' || (verified && !aTpmExisted),
  'G8: and then it does start': ({ kind, verified, aTpmExisted }) =>
    !verified || aTpmExisted || kind === 'start-new',
  'G4: local state becomes the head only if no other host had the volume since, unless it is the head': (
    it,
  ) => !becomesHead(it.kind) || it.localIsHead || !it.anotherHadIt,
  'G4: local state becomes the head over one that it does not equal only when it is known to be newer': ({
    kind,
    localIsHead,
    valid,
  }) => kind !== 'keep-local' || localIsHead || valid?.relation === 'newer',
  'G4: another TPM never becomes the head': ({ kind, localIsHead, localIsAnotherTpm }) =>
    kind !== 'keep-local' || localIsHead || !localIsAnotherTpm,
  'G4: nothing is adopted where something was published': ({ kind, facts: { volume } }) =>
    kind !== 'adopt-local' || volume.kind === 'absent' || volume.kind === 'empty',
  'G4: a volume that is behind the journal is not built upon': ({
    kind,
    verified,
    facts: { volume, journal },
  }) => !verified || (journal?.slot ?? 0) <= ('slot' in volume ? volume.slot : 0) || kind === 'refuse',
  'G3: a volume that a living host holds is left alone': ({ kind, facts: { holder } }) =>
    holder !== 'other-alive' || kind === 'refuse',
  'an expired holder is taken over only where the policy allows it': ({ kind, facts: { holder, policy } }) =>
    holder !== 'other-expired' || policy.takeOver === 'expired' || kind === 'refuse',
  'a tombstoned volume is not revived by a start': ({ kind, facts: { tombstoned } }) =>
    !tombstoned || kind === 'refuse',
  'G5: valid local state that is neither the head nor published before is never replaced without a copy': (
    it,
  ) => !replacesLocal(it.kind) || it.valid === undefined || it.localWasPublished,
  'G5: what only the spool has is not passed over, unless another host had the volume since': (it) =>
    !it.verified || !it.facts.spooled || it.valid !== undefined || it.anotherHadIt || it.kind === 'refuse',
  'G5: what the last run here left and could not store is not passed over, unless another host had the volume since':
    ({ kind, anotherHadIt, facts: { journal, local } }) => {
      const isTornItself =
        journal?.unstored === 'unreadable' && local.kind === 'faulty' && local.fault === 'torn';
      return !journal?.unstored || isTornItself || anotherHadIt || STAYS_LOCAL.has(kind);
    },
  'G6: a damaged head is never restored, and an older generation by policy alone': ({
    kind,
    facts: { volume, policy },
  }) => kind !== 'restore-previous' || (volume.kind === 'damaged' && policy.damagedHead === 'previous'),
  'G6: a head is restored only if it is whole': ({ kind, facts: { volume } }) =>
    (kind !== 'restore-head' && kind !== 'keep-diverged-restore-head') || volume.kind === 'whole',
  'G5: a state that this version does not understand is never replaced': ({ kind, facts: { local } }) =>
    local.kind !== 'faulty' || local.fault === 'torn' || kind === 'refuse',
  'G6: only valid local state is kept, published or made a diverged copy': ({ kind, valid }) =>
    !(becomesHead(kind) || kind === 'keep-unverified' || kind === 'keep-diverged-restore-head') ||
    valid !== undefined,
  'G3: without a verified share nothing is decided that claims': ({ kind, verified }) =>
    verified || kind === 'refuse' || kind === 'keep-unverified' || kind === 'restore-spooled',
  'without the share only the policy, and a journal by which the newest state is here, let a start go on': ({
    kind,
    verified,
    facts,
  }) =>
    verified ||
    kind === 'refuse' ||
    (facts.share === 'unreachable' &&
      facts.policy.withoutShare === 'last-known' &&
      facts.journal?.fenced === false &&
      facts.journal.handedOver !== true &&
      (facts.journal.slot > 0 || facts.spooled)),
  'without the share the spool is used only when there is a capture in it': ({ kind, facts: { spooled } }) =>
    kind !== 'restore-spooled' || spooled,
  'G8: without the share a TPM that is not the one in the journal is refused': ({
    kind,
    valid,
    facts: { journal },
  }) => kind !== 'keep-unverified' || !differ(valid?.identity, journal?.identity),
  'I7: a head that is another TPM than this host knows is refused, whatever lies here': ({
    kind,
    verified,
    facts: { volume, journal },
  }) =>
    !verified || volume.kind !== 'whole' || !differ(volume.identity, journal?.identity) || kind === 'refuse',
  'only a migration that was announced is waited for': ({ kind }) => kind !== 'wait-incoming',
};

function becomesHead(kind: RestoreDecision['kind']): boolean {
  return kind === 'keep-local' || kind === 'adopt-local';
}

/** What leaves another content in the state directory than there was, and no copy of it in the volume. */
function replacesLocal(kind: RestoreDecision['kind']): boolean {
  return (
    kind === 'restore-head' ||
    kind === 'restore-previous' ||
    kind === 'restore-spooled' ||
    kind === 'start-new'
  );
}

/** The decision's kind, or the code of a refusal. */
function outcome(decision: RestoreDecision): string {
  return decision.kind === 'refuse' ? decision.code : decision.kind;
}

t.test('every combination of facts keeps every rule, and every decision is reached', (t) => {
  const broken = new Map<string, { facts: RestoreFacts; decision: RestoreDecision }>();
  const reached = new Set<string>();
  const rules = Object.entries(RULES);
  const count = forEveryCombination('no', (facts) => {
    const decision = planRestore(facts);
    reached.add(outcome(decision));
    const meaning = meaningOf(facts, decision);
    for (const [name, holds] of rules) {
      if (!holds(meaning) && !broken.has(name)) broken.set(name, { facts, decision });
    }
  });
  for (const [name] of rules) t.strictSame(broken.get(name), undefined, name);
  t.strictSame([...reached].sort(), [
    'FOREIGN_TPM',
    'GENERATION_DAMAGED',
    'HELD_ELSEWHERE',
    'SHARE_NOT_INITIALIZED',
    'SHARE_UNAVAILABLE',
    'SHARE_WRONG',
    'STATE_BEHIND',
    'STATE_INVALID',
    'STATE_MISSING',
    'STATE_NOT_STORED',
    'STATE_NOT_UNDERSTOOD',
    'STATE_PLACED',
    'TOMBSTONED',
    'adopt-local',
    'keep-diverged-restore-head',
    'keep-local',
    'keep-unverified',
    'restore-head',
    'restore-previous',
    'restore-spooled',
    'start-new',
  ]);
  t.ok(count > 1_000_000, `${count} combinations`);
  t.end();
});

t.test('G8: what the definition carries decides where a blank TPM would start, and nowhere else', (t) => {
  const without: string[] = [];
  forEveryCombination('no', (facts) => without.push(outcome(planRestore(facts))));
  for (const [carried, instead] of [
    ['whole', 'restore-carried'],
    ['unusable', 'CARRIED_INVALID'],
  ] as const) {
    let at = 0;
    let times = 0;
    let broken: RestoreFacts | undefined;
    forEveryCombination(
      'no',
      (facts) => {
        const before = without[at++];
        const expected = before === 'start-new' ? instead : before;
        if (expected === instead) times++;
        if (outcome(planRestore(facts)) !== expected) broken ??= facts;
      },
      carried,
    );
    t.equal(broken, undefined, carried);
    t.ok(times > 0, `${instead} is reached`);
  }
  t.end();
});

/** What an announcement may change, in words of its own. */
function mayBeMigration(facts: RestoreFacts, ordinary: string): boolean {
  const { share, holder, journal, spooled } = facts;
  if (share !== 'verified') return false;
  if (holder === 'other-alive' || holder === 'other-expired') return true;
  const knowsOfOne =
    journal !== undefined && (journal.ran || journal.digest !== undefined || journal.identity !== undefined);
  const isFirst = ordinary === 'start-new' || (ordinary === 'adopt-local' && !knowsOfOne && !spooled);
  return holder === 'none' && isFirst;
}

for (const announced of ['yes', 'by-holder'] as const) {
  t.test(
    `G8: a start that was announced (${announced}) is an ordinary one, unless another host holds the volume or nobody ever had one`,
    (t) => {
      const without: RestoreDecision[] = [];
      forEveryCombination('no', (facts) => without.push(planRestore(facts)));
      let at = 0;
      let waits = 0;
      let headFirst = 0;
      let broken: RestoreFacts | undefined;
      forEveryCombination(announced, (facts) => {
        const ordinary = without[at++]!;
        const decision = planRestore(facts);
        if (mayBeMigration(facts, outcome(ordinary))) {
          waits++;
          const isFirst = decision.kind === 'wait-incoming' && decision.headFirst === true;
          if (isFirst) headFirst++;
          const mayCopy = announced === 'yes' && facts.holder === 'other-expired';
          const isRight = isFirst === (mayCopy && ordinary.kind === 'restore-head');
          if (decision.kind !== 'wait-incoming' || !isRight) broken ??= facts;
        } else if (outcome(decision) !== outcome(ordinary)) {
          broken ??= facts;
        }
      });
      t.equal(broken, undefined);
      t.ok(waits > 0 && at > waits, 'both are reached');
      t.equal(headFirst > 0, announced === 'yes', 'a holder that is known for certain needs no copy');
      t.end();
    },
  );
}

t.test('G8: nothing that a definition carries is passed over for an announcement', (t) => {
  let broken: RestoreFacts | undefined;
  forEveryCombination(
    'yes',
    (facts) => {
      const isIncoming = planRestore(facts).kind === 'wait-incoming';
      const isOrdinary = outcome(planRestore({ ...facts, announced: 'no' })) === 'restore-carried';
      if (isIncoming && isOrdinary) broken ??= facts;
    },
    'whole',
  );
  t.equal(broken, undefined);
  t.end();
});

const QUIET: RestoreFacts = {
  share: 'verified',
  volume: { kind: 'absent' },
  tombstoned: false,
  holder: 'none',
  claimedByAnother: false,
  local: { kind: 'absent' },
  journal: undefined,
  spooled: false,
  announced: 'no',
  policy: { withoutShare: 'refuse', takeOver: 'expired', damagedHead: 'refuse' },
};
const HEAD = { kind: 'whole', slot: HEAD_SLOT, identity: TPM_A } as const;
const PUBLISHED_HEAD: JournalFacts = {
  slot: HEAD_SLOT,
  digest: OTHER_DIGEST,
  identity: TPM_A,
  ran: false,
  fenced: false,
};
const LAST_KNOWN = { ...QUIET.policy, withoutShare: 'last-known' } as const;

function local(relation: LocalRelation, identity: string | undefined = TPM_A): LocalFacts {
  return { kind: 'valid', digest: LOCAL_DIGEST, identity, relation };
}

function plan(facts: Partial<RestoreFacts>): string {
  return outcome(planRestore({ ...QUIET, ...facts }));
}

const SCENARIOS: readonly (readonly [name: string, facts: Partial<RestoreFacts>, expected: string])[] = [
  ['restore-carried: all that is left stands in the definition', { carried: 'whole' }, 'restore-carried'],
  [
    'restore-carried: the first start from the definition failed before anything was stored',
    { volume: { kind: 'empty' }, carried: 'whole' },
    'restore-carried',
  ],
  ['G8: all that is left is damaged', { carried: 'unusable' }, 'CARRIED_INVALID'],
  ['restore-head: the volume goes before the definition', { volume: HEAD, carried: 'whole' }, 'restore-head'],
  ['adopt-local: so does this host', { local: local('unknown'), carried: 'whole' }, 'adopt-local'],
  ['G5: so does the spool', { spooled: true, carried: 'whole' }, 'STATE_BEHIND'],
  ['a forgotten domain stays forgotten', { volume: HEAD, tombstoned: true, carried: 'whole' }, 'TOMBSTONED'],
  [
    'G4: a volume that is missing had a newer state than the definition',
    { journal: PUBLISHED_HEAD, carried: 'whole' },
    'STATE_MISSING',
  ],
  [
    'G4: without the share nobody knows whether the definition is all there is',
    { share: 'unreachable', carried: 'whole', policy: LAST_KNOWN },
    'SHARE_UNAVAILABLE',
  ],
  ['start-new: a new VM', {}, 'start-new'],
  [
    'start-new: the first start of a new VM failed before its TPM ran',
    {
      volume: { kind: 'empty' },
      holder: 'self',
      journal: { ...PUBLISHED_HEAD, slot: 0, digest: undefined, identity: undefined },
    },
    'start-new',
  ],
  [
    'start-new: the first start failed on another host, which released',
    { volume: { kind: 'empty' } },
    'start-new',
  ],
  [
    'G8: a new VM ran here and nothing of it is left',
    {
      volume: { kind: 'empty' },
      holder: 'self',
      journal: { ...PUBLISHED_HEAD, slot: 0, digest: undefined, identity: undefined, ran: true },
    },
    'STATE_MISSING',
  ],
  [
    'G8: a new VM ran on a host that died before its first publish',
    { volume: { kind: 'empty' }, holder: 'other-expired' },
    'STATE_MISSING',
  ],
  [
    'G8: a new VM ran here, was fenced, and the other host released without a publish',
    {
      volume: { kind: 'empty' },
      claimedByAnother: true,
      journal: { ...PUBLISHED_HEAD, slot: 0, digest: undefined, fenced: true },
    },
    'STATE_MISSING',
  ],
  [
    'G8: the journal is lost, and this host holds a volume without a generation',
    { volume: { kind: 'empty' }, holder: 'self' },
    'STATE_MISSING',
  ],
  [
    'G8: the only state of a new VM is in the spool',
    { volume: { kind: 'empty' }, holder: 'self', spooled: true },
    'STATE_BEHIND',
  ],
  ['G6: the only state there is, is invalid', { local: { kind: 'faulty', fault: 'torn' } }, 'STATE_INVALID'],
  ['adopt-local: a VM from before the product was installed', { local: local('unknown') }, 'adopt-local'],
  [
    'adopt-local: this host crashed between claim and first publish',
    { volume: { kind: 'empty' }, holder: 'self', local: local('unknown') },
    'adopt-local',
  ],
  [
    'G4: a leftover is not adopted while the host that ran the VM last has never stored its state',
    { volume: { kind: 'empty' }, holder: 'other-expired', local: local('unknown') },
    'STATE_MISSING',
  ],
  [
    'restore-head: fail-over to a host that never ran the VM',
    { volume: HEAD, holder: 'other-expired', claimedByAnother: true },
    'restore-head',
  ],
  [
    'restore-head: power loss left an empty permall',
    { volume: HEAD, holder: 'self', local: { kind: 'faulty', fault: 'torn' }, journal: PUBLISHED_HEAD },
    'restore-head',
  ],
  [
    'restore-head: local state is from before the head',
    { volume: HEAD, local: local('older') },
    'restore-head',
  ],
  [
    'restore-head: local state is what this host published last, and the VM ran elsewhere since',
    {
      volume: HEAD,
      claimedByAnother: true,
      local: local('unknown'),
      journal: { ...PUBLISHED_HEAD, slot: HEAD_SLOT - 3, digest: LOCAL_DIGEST },
    },
    'restore-head',
  ],
  [
    'keep-local: local state is the head',
    { volume: HEAD, local: local('same'), journal: PUBLISHED_HEAD },
    'keep-local',
  ],
  [
    'keep-local: this host crashed before the publish',
    { volume: HEAD, holder: 'self', local: local('newer'), journal: { ...PUBLISHED_HEAD, ran: true } },
    'keep-local',
  ],
  [
    'keep-local: the VM ran once while the hook was missing',
    { volume: HEAD, local: local('newer'), journal: PUBLISHED_HEAD },
    'keep-local',
  ],
  [
    'keep-diverged-restore-head: local state was changed after the volume was lost',
    {
      volume: HEAD,
      claimedByAnother: true,
      local: local('newer'),
      journal: { ...PUBLISHED_HEAD, slot: HEAD_SLOT - 1, fenced: true },
    },
    'keep-diverged-restore-head',
  ],
  [
    'refuse: nothing tells how local state stands to the head, on a host that knows nothing of the VM',
    {
      volume: HEAD,
      local: { kind: 'valid', digest: LOCAL_DIGEST, identity: undefined, relation: 'unknown' },
    },
    'STATE_PLACED',
  ],
  [
    'G8: the head is another TPM than the one that this host lost',
    { volume: HEAD, journal: { ...PUBLISHED_HEAD, slot: 0, identity: TPM_B, fenced: true } },
    'FOREIGN_TPM',
  ],
  [
    'restore-head: a run that lost to another host before this one held anything says nothing of the TPM',
    {
      volume: HEAD,
      journal: { ...PUBLISHED_HEAD, slot: 0, identity: TPM_B, fenced: true, neverHeld: true },
    },
    'restore-head',
  ],
  [
    'G8: the same, and its TPM still lies here',
    {
      volume: HEAD,
      claimedByAnother: true,
      local: { kind: 'valid', digest: LOCAL_DIGEST, identity: TPM_B, relation: 'unknown', origin: 'run' },
      journal: { ...PUBLISHED_HEAD, slot: 0, identity: TPM_B, fenced: true, neverHeld: true },
    },
    'FOREIGN_TPM',
  ],
  [
    'wait-incoming: a migration from the host that holds the volume',
    { announced: 'yes', volume: HEAD, holder: 'other-alive' },
    'wait-incoming',
  ],
  ['wait-incoming: the first of a domain that nobody stored', { announced: 'yes' }, 'wait-incoming'],
  [
    'wait-incoming: its source has no agent, or is dead',
    { announced: 'yes', volume: HEAD, holder: 'other-expired' },
    'wait-incoming',
  ],
  [
    'G8: an offline migration was announced, and this host has nothing',
    { announced: 'yes', volume: HEAD, journal: undefined },
    'restore-head',
  ],
  [
    'G8: an offline migration was announced, and an older state lies here',
    {
      announced: 'yes',
      volume: HEAD,
      local: { kind: 'valid', digest: OTHER_DIGEST, identity: TPM_A, relation: 'older' },
    },
    'restore-head',
  ],
  [
    'an announcement revives no tombstone',
    { announced: 'yes', volume: HEAD, tombstoned: true },
    'TOMBSTONED',
  ],
  [
    'a migration is refused while the share is away: its guest runs on at its source',
    { announced: 'yes', share: 'unreachable' },
    'SHARE_UNAVAILABLE',
  ],
  [
    'refuse: the share is unreachable',
    { share: 'unreachable', local: local('unknown'), journal: PUBLISHED_HEAD },
    'SHARE_UNAVAILABLE',
  ],
  [
    'refuse: the mount point is empty',
    { share: 'not-initialized', policy: LAST_KNOWN, journal: PUBLISHED_HEAD },
    'SHARE_NOT_INITIALIZED',
  ],
  [
    'refuse: another export is mounted',
    { share: 'wrong', policy: LAST_KNOWN, local: local('unknown'), journal: PUBLISHED_HEAD },
    'SHARE_WRONG',
  ],
  ['refuse: held by a living host', { volume: HEAD, holder: 'other-alive' }, 'HELD_ELSEWHERE'],
  [
    'refuse: held by an expired host and take-over is off',
    { volume: HEAD, holder: 'other-expired', policy: { ...QUIET.policy, takeOver: 'never' } },
    'HELD_ELSEWHERE',
  ],
  [
    'refuse: the head is damaged',
    { volume: { kind: 'damaged', slot: HEAD_SLOT, localIsHead: false } },
    'GENERATION_DAMAGED',
  ],
  [
    'restore-previous: the head is damaged and the policy allows an older one',
    {
      volume: { kind: 'damaged', slot: HEAD_SLOT, localIsHead: false },
      policy: { ...QUIET.policy, damagedHead: 'previous' },
    },
    'restore-previous',
  ],
  [
    'G5: the head is damaged and local state may be newer than any whole generation',
    {
      volume: { kind: 'damaged', slot: HEAD_SLOT, localIsHead: false },
      local: local('unknown'),
      policy: { ...QUIET.policy, damagedHead: 'previous' },
    },
    'GENERATION_DAMAGED',
  ],
  [
    'keep-local: the head is damaged and its content is on this disk',
    { volume: { kind: 'damaged', slot: HEAD_SLOT, localIsHead: true }, local: local('unknown') },
    'keep-local',
  ],
  [
    'refuse: the volume is gone, and the journal knows it',
    { journal: PUBLISHED_HEAD, local: local('unknown') },
    'STATE_MISSING',
  ],
  [
    'refuse: the share came back from an old backup',
    { volume: { ...HEAD, slot: HEAD_SLOT - 1 }, journal: PUBLISHED_HEAD, local: local('newer') },
    'STATE_BEHIND',
  ],
  [
    'refuse: the volume was tombstoned',
    { volume: HEAD, tombstoned: true, local: local('same') },
    'TOMBSTONED',
  ],
  [
    'refuse: a blank TPM came up while the product was not there',
    { volume: HEAD, local: local('newer', TPM_B), journal: PUBLISHED_HEAD },
    'FOREIGN_TPM',
  ],
  [
    'G5: the final state of the last run is in the spool only',
    { volume: HEAD, holder: 'self', spooled: true, journal: PUBLISHED_HEAD },
    'STATE_BEHIND',
  ],
  [
    'G5: a spooled state that lost does not hold up the head',
    { volume: HEAD, claimedByAnother: true, spooled: true, journal: { ...PUBLISHED_HEAD, fenced: true } },
    'restore-head',
  ],
  [
    'without the share: the policy lets the last known state start',
    { share: 'unreachable', policy: LAST_KNOWN, local: local('unknown'), journal: PUBLISHED_HEAD },
    'keep-unverified',
  ],
  [
    'without the share: the spooled capture is the last known state',
    { share: 'unreachable', policy: LAST_KNOWN, spooled: true, journal: PUBLISHED_HEAD },
    'restore-spooled',
  ],
  [
    'G4: without the share, after a power loss, a local state that the spool may be ahead of is refused',
    {
      share: 'unreachable',
      policy: LAST_KNOWN,
      local: local('unknown'),
      spooled: true,
      journal: { ...PUBLISHED_HEAD, digest: LOCAL_DIGEST, rebooted: true },
    },
    'SHARE_UNAVAILABLE',
  ],
  [
    'without the share, after a power loss: the local state that the spool has too is the last',
    {
      share: 'unreachable',
      policy: LAST_KNOWN,
      local: local('unknown'),
      spooled: true,
      localIsSpooled: true,
      journal: { ...PUBLISHED_HEAD, rebooted: true },
    },
    'keep-unverified',
  ],
  [
    'G3: without the share a host that was fenced refuses',
    {
      share: 'unreachable',
      policy: LAST_KNOWN,
      local: local('unknown'),
      journal: { ...PUBLISHED_HEAD, fenced: true },
    },
    'SHARE_UNAVAILABLE',
  ],
  [
    'G4: without the share a host from which the VM has migrated away refuses',
    {
      share: 'unreachable',
      policy: LAST_KNOWN,
      local: local('same'),
      journal: { ...PUBLISHED_HEAD, handedOver: true },
    },
    'SHARE_UNAVAILABLE',
  ],
  [
    'G8: without the share a host that knows nothing of the VM refuses',
    { share: 'unreachable', policy: LAST_KNOWN },
    'SHARE_UNAVAILABLE',
  ],
  [
    'G8: without the share a TPM that is not the known one is refused',
    { share: 'unreachable', policy: LAST_KNOWN, local: local('unknown', TPM_B), journal: PUBLISHED_HEAD },
    'FOREIGN_TPM',
  ],
];

for (const [name, facts, expected] of SCENARIOS) {
  t.test(name, async (t) => {
    t.equal(plan(facts), expected);
  });
}

const REBOOTED: JournalFacts = { ...PUBLISHED_HEAD, rebooted: true };
const WAITS: readonly (readonly [string, Partial<RestoreFacts>, boolean])[] = [
  ['a migration waits until the claim of the last run is given back', { announced: 'yes' }, true],
  [
    'G5: a start waits for the spool, where the last run ended with more than lies here',
    { volume: HEAD, claimedByAnother: true, spooled: true, journal: PUBLISHED_HEAD },
    true,
  ],
  [
    'G5: a start waits for the spool, where a power loss may have taken the file back to before it',
    { volume: HEAD, holder: 'self', local: local('same'), spooled: true, journal: REBOOTED },
    true,
  ],
  [
    'what the spool has too is not before it',
    {
      volume: HEAD,
      holder: 'self',
      local: local('newer'),
      spooled: true,
      localIsSpooled: true,
      journal: REBOOTED,
    },
    false,
  ],
  [
    'within one boot the file is not before what the spool has',
    { volume: HEAD, holder: 'self', local: local('newer'), spooled: true, journal: PUBLISHED_HEAD },
    false,
  ],
  [
    'G5: a refusal for what the spool has is not the last word while that is on its way',
    { volume: HEAD, holder: 'self', spooled: true, journal: PUBLISHED_HEAD },
    true,
  ],
  [
    'another refusal is told at once',
    {
      volume: HEAD,
      holder: 'self',
      local: local('newer', TPM_B),
      spooled: true,
      journal: PUBLISHED_HEAD,
    },
    false,
  ],
  ['a claim alone keeps no start waiting', { volume: HEAD, holder: 'self', journal: REBOOTED }, false],
];

for (const [name, facts, expected] of WAITS) {
  t.test(name, async (t) => {
    const all = { ...QUIET, ...facts };
    t.equal(mustFinishFirst(planRestore(all), all), expected);
  });
}
