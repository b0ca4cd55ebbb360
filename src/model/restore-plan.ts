/**
 * restore-plan: what to do with a domain's state before its swtpm starts, as a pure function of everything that is known.
 *
 * I1 (G8) A TPM starts blank only when nothing anywhere says that this domain ever had one: no volume with a generation, no claim of
 *    another host left open, no local file, no capture in the spool, and no journal that ran, saw or lost a TPM.
 * I2 (G4) A head is never set aside for local state unless that is the same TPM, known to be newer, and no other host has held the
 *    volume since this host last did.
 * I8 Local state loses in silence only where it is proved that nothing is lost: it is torn, or zeroed and
 *    the host has lost its power since; or it is older: published before, or what this host left. What is
 *    not understood, cannot be read, or was put there by somebody else is refused, or follows
 *    `policy.localState`; then the operator is told.
 * I3 (G5) Local state that loses is kept: whatever is not the head's equal, or known to have been published, becomes a diverged copy
 *    or the start is refused. What only the spool has goes to the volume before anything is restored over it, and before a domain starts from
 *    local state that a power loss may have taken back to before it.
 * I4 Nothing is decided on a share that is not verified, but by the operator's own policy and on state that this host knows to be
 *    the last it had.
 * I6 (G8, G4) A start is an incoming migration only where it was announced and another host holds the volume, or nobody ever had one.
 *    libvirt announces offline migrations, too, and live ones that somebody refuses: then an ordinary start follows, or none.
 * I7 A head that is another TPM than the one this host knows the domain to have (its journal) is
 *    refused, whoever published it, whatever lies here: an operator who meant it says so with `resolve`.
 * I9 (G5) Where the last run here ended with a state that could not be stored, nothing older takes its place
 *    in silence, also when its files are gone.
 * I5 A state that the domain's own definition carries is used only where its TPM would start blank (I1): nobody knows how old it is. One that
 *    cannot be used is no reason to start blank.
 */
import type { ErrorCode } from './errors.js';
import type { LocalOrigin } from './local-origin.js';
import type { LocalRelation } from './local-relation.js';
import { faultCode, mayBeWhole, type StateFault, type UnstoredFault } from './state-fault.js';

export type SharePresence = 'verified' | 'unreachable' | 'not-initialized' | 'wrong';

export type VolumeFacts =
  /** No entry at all; also when the share is not verified. */
  | { readonly kind: 'absent' }
  /** Claimed, but nothing was ever published. */
  | {
      readonly kind: 'empty';
      /** A holder lost it to another host before it had stored anything. */
      readonly abandoned?: boolean;
    }
  | {
      readonly kind: 'whole';
      readonly slot: number;
      readonly identity: string | undefined;
      /** This host's libtpms cannot read it. */
      readonly isTooNew?: boolean;
    }
  /** `localIsHead`: the local state's digest is the one in the damaged head's name. */
  | { readonly kind: 'damaged'; readonly slot: number; readonly localIsHead: boolean };

export type LocalFacts =
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'faulty';
      readonly fault: StateFault;
      /** It was last changed before this boot of the host. */
      readonly isFromBeforeBoot?: boolean;
    }
  | {
      readonly kind: 'valid';
      readonly digest: string;
      readonly identity: string | undefined;
      readonly relation: LocalRelation;
      /** @default 'unknown' */
      readonly origin?: LocalOrigin;
      /** Its file changed after the last run here ended. @default not known */
      readonly changedSince?: boolean | undefined;
      /** Its TPM is the head's own: only other parts differ, which nobody's policy is about. */
      readonly tpmIsHeads?: boolean;
      /** It is older, but has NVRAM that was never published. */
      readonly hasNews?: boolean;
      /** This host's libtpms cannot read it. */
      readonly isTooNew?: boolean;
    };

/** Who is right where somebody else than this program put a state in place. */
export type LocalStatePolicy = 'refuse' | 'share' | 'manager';

/** A state in the domain's own definition. */
export type CarriedFacts = 'none' | 'whole' | 'unusable';

/** What this host's journal remembers of the domain. */
export interface JournalFacts {
  /** Last slot that this host published or restored; 0 for none. */
  readonly slot: number;
  readonly digest: string | undefined;
  readonly identity: string | undefined;
  /** Whether the domain was known to run here, so that its TPM has been in use. */
  readonly ran: boolean;
  readonly fenced: boolean;
  /**
   * Its one run here lost to another host before this host had claimed, stored or restored anything: the
   * TPM of that run is a diverged copy, and was never the domain's on any share. @default false
   */
  readonly neverHeld?: boolean;
  /** The domain's last run here ended with its migration to another host, which has its newest state. */
  readonly handedOver?: boolean;
  /** The last run here ended with a state that could not be stored, because of this: the head is older. */
  readonly unstored?: UnstoredFault | undefined;
  /** The host was restarted since: a power loss may have taken its files, which swtpm does not sync, back in time. */
  readonly rebooted?: boolean;
}

export interface RestoreFacts {
  readonly share: SharePresence;
  readonly volume: VolumeFacts;
  readonly tombstoned: boolean;
  readonly holder: 'none' | 'self' | 'other-alive' | 'other-expired';
  /** Whether another host claimed the volume after this host last held it (true when that cannot be told). */
  readonly claimedByAnother: boolean;
  readonly local: LocalFacts;
  readonly journal: JournalFacts | undefined;
  /** A capture of this host that never reached the share. */
  readonly spooled: boolean;
  /** The local state is the spool's newest capture. */
  readonly localIsSpooled?: boolean;
  /** @default 'none' */
  readonly carried?: CarriedFacts;
  /**
   * A migration to this host was announced just before this start; 'by-holder': and the definition that came with it carries the claim under which
   * another host holds the volume now, so that it is no ordinary start.
   */
  readonly announced: 'no' | 'yes' | 'by-holder';
  readonly policy: {
    readonly withoutShare: 'refuse' | 'last-known';
    readonly takeOver: 'expired' | 'never';
    readonly damagedHead: 'refuse' | 'previous';
    /** @default 'refuse' */
    readonly localState?: LocalStatePolicy;
  };
}

export type RestoreDecision =
  | { readonly kind: 'start-new' }
  | { readonly kind: 'adopt-local' }
  | { readonly kind: 'restore-head' }
  /** The newest older generation that is whole, by policy. */
  | { readonly kind: 'restore-previous' }
  | { readonly kind: 'keep-local' }
  | { readonly kind: 'keep-diverged-restore-head' }
  /** By policy: what somebody put in place becomes the head, and the head before is kept as a snapshot. */
  | { readonly kind: 'keep-placed' }
  /** By policy: what somebody put in place becomes a diverged copy, and the head is restored. */
  | { readonly kind: 'restore-over-placed' }
  /** Without the share: the spooled capture is the last state known. */
  | { readonly kind: 'restore-spooled' }
  | { readonly kind: 'keep-unverified' }
  /** Nothing is left of the domain but what its definition carries, which becomes the first generation. */
  | { readonly kind: 'restore-carried' }
  /** `headFirst`: what comes may as well be an ordinary start after all, so the head is put in place, claimed by nobody. */
  | { readonly kind: 'wait-incoming'; readonly headFirst?: true }
  | { readonly kind: 'refuse'; readonly code: ErrorCode };

/** What a domain starts from the local state with. */
const STARTS_FROM_LOCAL: ReadonlySet<RestoreDecision['kind']> = new Set([
  'adopt-local',
  'keep-local',
  'keep-placed',
  'keep-unverified',
]);

export function planRestore(facts: RestoreFacts): RestoreDecision {
  const decision = planState(facts);
  if (losesUnstored(decision, facts)) return refuse('STATE_NOT_STORED');
  return isTooNew(decision, facts) ? refuse('LIBTPMS_TOO_OLD') : decision;
}

/** Whether the domain would go back behind what its last run here left (I9). */
function losesUnstored({ kind }: RestoreDecision, facts: RestoreFacts): boolean {
  const { journal, local } = facts;
  const unstored = journal?.unstored;
  if (!unstored || isLost(facts)) return false;
  // What could not be read lies there, and turns out to be nothing.
  if (local.kind === 'faulty' && isProvedTorn(local) && !mayBeWhole(unstored)) return false;
  return kind === 'restore-spooled' || STARTS_FROM_THE_HEAD.has(kind);
}

/** Whether this host's swtpm would fail with what the domain is to start from. */
function isTooNew({ kind }: RestoreDecision, { local, volume }: RestoreFacts): boolean {
  if (STARTS_FROM_LOCAL.has(kind)) return local.kind === 'valid' && local.isTooNew === true;
  const isHead = kind !== 'restore-previous' && STARTS_FROM_THE_HEAD.has(kind);
  return isHead && volume.kind === 'whole' && volume.isTooNew === true;
}

function planState(facts: RestoreFacts): RestoreDecision {
  if (facts.share !== 'verified') return withoutShare(facts);
  const ordinary = refuseVolume(facts) ?? planOnVolume(facts);
  return (facts.announced === 'no' ? undefined : planIncoming(facts, ordinary)) ?? ordinary;
}

/**
 * @param ordinary what the start would be if nothing had been announced
 * @returns `undefined` when it is that (I6)
 */
function planIncoming(facts: RestoreFacts, ordinary: RestoreDecision): RestoreDecision | undefined {
  switch (facts.holder) {
    case 'self':
      return undefined;
    case 'none':
      return wasNeverHad(facts, ordinary) ? { kind: 'wait-incoming' } : undefined;
    case 'other-alive':
      return { kind: 'wait-incoming' };
    case 'other-expired': {
      // A guest runs on without its agent; but its host may be dead, and this an ordinary start that follows an old announcement.
      const mayBeOrdinary = facts.announced === 'yes' && ordinary.kind === 'restore-head';
      return { kind: 'wait-incoming', ...(mayBeOrdinary && { headFirst: true }) };
    }
  }
}

/** Whether nothing anywhere says that anybody had the domain before; its state may come from a host that stores none. */
function wasNeverHad({ journal, spooled }: RestoreFacts, { kind }: RestoreDecision): boolean {
  if (kind === 'start-new') return true;
  const isKnownHere = spooled || (journal !== undefined && (journal.ran || knowsState(journal)));
  return kind === 'adopt-local' && !isKnownHere;
}

function refuse(code: ErrorCode): RestoreDecision {
  return { kind: 'refuse', code };
}

function withoutShare({
  share,
  policy,
  journal,
  local,
  spooled,
  localIsSpooled = false,
}: RestoreFacts): RestoreDecision {
  if (share === 'wrong') return refuse('SHARE_WRONG');
  if (share === 'not-initialized') return refuse('SHARE_NOT_INITIALIZED');
  if (policy.withoutShare === 'refuse' || !knowsLast(journal, spooled)) return refuse('SHARE_UNAVAILABLE');
  if (local.kind === 'valid') {
    if (isOtherTpm(local.identity, journal.identity)) return refuse('FOREIGN_TPM');
    if (local.origin === 'placed' && policy.localState !== 'manager') return refuse('STATE_PLACED');
    const wasLast = localIsSpooled || (!spooled && !journal.ran && local.digest === journal.digest);
    const isLatest = journal.rebooted !== true || wasLast;
    return isLatest ? { kind: 'keep-unverified' } : refuse('SHARE_UNAVAILABLE');
  }
  if (local.kind === 'faulty' && !isProvedTorn(local)) return refuse(faultCode(local.fault));
  return spooled ? { kind: 'restore-spooled' } : refuse('SHARE_UNAVAILABLE');
}

/** Whether this host had the domain last, and knows with what. */
function knowsLast(journal: JournalFacts | undefined, spooled: boolean): journal is JournalFacts {
  const isLast = journal !== undefined && !journal.fenced && !journal.handedOver;
  return isLast && (journal.slot > 0 || spooled);
}

/** What no local state can outweigh. */
function refuseVolume({
  volume,
  journal,
  tombstoned,
  holder,
  policy,
}: RestoreFacts): RestoreDecision | undefined {
  const headSlot = volume.kind === 'whole' || volume.kind === 'damaged' ? volume.slot : 0;
  if (journal && journal.slot > 0 && headSlot === 0) return refuse('STATE_MISSING');
  if (journal && journal.slot > headSlot) return refuse('STATE_BEHIND');
  if (tombstoned) return refuse('TOMBSTONED');
  if (holder === 'other-alive') return refuse('HELD_ELSEWHERE');
  if (holder === 'other-expired' && policy.takeOver === 'never') return refuse('HELD_ELSEWHERE');
  return undefined;
}

function planOnVolume(facts: RestoreFacts): RestoreDecision {
  const { volume, local, spooled } = facts;
  if (isHeadForeign(facts)) return refuse('FOREIGN_TPM');
  if (spooled && local.kind !== 'valid' && !isLost(facts)) return refuse('STATE_BEHIND');
  switch (volume.kind) {
    case 'absent':
    case 'empty':
      return planFirst(facts);
    case 'damaged':
      return planDamaged(facts, volume.localIsHead);
    case 'whole':
      return planWhole(facts, volume.identity);
  }
}

/** Nothing was ever published. */
function planFirst(facts: RestoreFacts): RestoreDecision {
  const { volume, local, journal, holder, spooled } = facts;
  // The other host may have the domain's state, never stored; what lies here need not be it.
  if (local.kind === 'valid') return isLost(facts) ? refuse('STATE_MISSING') : { kind: 'adopt-local' };
  if (local.kind === 'faulty') return refuse(faultCode(local.fault));
  // A claim that was never released, even if another followed, means that the TPM may have been in use on its holder and never stored.
  const hadOneHere = journal
    ? journal.ran || journal.fenced || journal.handedOver === true || knowsState(journal)
    : holder === 'self';
  const isAbandoned = holder === 'other-expired' || (volume.kind === 'empty' && volume.abandoned === true);
  const hadOne = hadOneHere || spooled || isAbandoned;
  return hadOne ? refuse('STATE_MISSING') : planNew(facts);
}

/** Nothing anywhere says that the domain ever had a TPM, but maybe its own definition. */
function planNew({ carried = 'none' }: RestoreFacts): RestoreDecision {
  switch (carried) {
    case 'none':
      return { kind: 'start-new' };
    case 'whole':
      return { kind: 'restore-carried' };
    case 'unusable':
      return refuse('CARRIED_INVALID');
  }
}

function knowsState({ digest, identity }: JournalFacts): boolean {
  return digest !== undefined || identity !== undefined;
}

/** Whether another host had the volume since this host did, so that this host's state is not the newest. */
function isLost({ claimedByAnother, holder, journal }: RestoreFacts): boolean {
  return claimedByAnother || holder === 'other-expired' || (journal?.fenced ?? false);
}

function planDamaged({ local, journal, policy }: RestoreFacts, localIsHead: boolean): RestoreDecision {
  if (local.kind === 'valid') {
    if (localIsHead) return { kind: 'keep-local' };
    if (journal?.digest !== local.digest) return refuse('GENERATION_DAMAGED');
  }
  if (local.kind === 'faulty' && !isProvedTorn(local)) return refuse(faultCode(local.fault));
  return policy.damagedHead === 'previous' ? { kind: 'restore-previous' } : refuse('GENERATION_DAMAGED');
}

function planWhole(facts: RestoreFacts, headIdentity: string | undefined): RestoreDecision {
  const { local } = facts;
  switch (local.kind) {
    case 'absent':
      return { kind: 'restore-head' };
    case 'faulty':
      return isProvedTorn(local) ? { kind: 'restore-head' } : refuse(faultCode(local.fault));
    case 'valid':
      return planValid(facts, local, headIdentity);
  }
}

type FaultyLocal = Extract<LocalFacts, { kind: 'faulty' }>;

/** Whether nothing can be made of it: then nothing is lost with it. */
function isProvedTorn({ fault, isFromBeforeBoot }: FaultyLocal): boolean {
  return fault === 'torn' || (fault === 'zeroed' && isFromBeforeBoot === true);
}

type ValidLocal = Extract<LocalFacts, { kind: 'valid' }>;

function planValid(
  facts: RestoreFacts,
  local: ValidLocal,
  headIdentity: string | undefined,
): RestoreDecision {
  const { relation } = local;
  if (relation === 'same') return { kind: 'keep-local' };
  const isOther = isOtherTpm(local.identity, headIdentity) && relation !== 'older';
  if (isPlaced(facts, local)) return planPlaced(facts, isOther);
  if (isOther) return refuse('FOREIGN_TPM');
  const wasPublished = relation === 'older' || facts.journal?.digest === local.digest;
  if (wasPublished && !local.hasNews) return { kind: 'restore-head' };
  const newer = relation === 'newer' && !wasPublished && !isLeftover(local) && !isLost(facts);
  return newer ? { kind: 'keep-local' } : { kind: 'keep-diverged-restore-head' };
}

/** Whether the head is another TPM than the one that this host last stored or restored (I7). */
export function isHeadForeign({ volume, journal }: Pick<RestoreFacts, 'volume' | 'journal'>): boolean {
  return volume.kind === 'whole' && isForeignTo(journal, volume.identity);
}

/** Whether a generation with this identity is another TPM than the one that this host knows the domain to have. */
export function isForeignTo(journal: JournalFacts | undefined, identity: string | undefined): boolean {
  return !journal?.neverHeld && isOtherTpm(journal?.identity, identity);
}

/**
 * Whether it is what the last run here left, or from before that: what that run left is stored, and where
 * it is not the head it is a diverged copy, whatever the times of the files are.
 */
function isLeftover({ origin }: ValidLocal): boolean {
  return origin === 'run' || origin === 'reverted';
}

/** Whether somebody else put it there, as far as that is to be believed. */
function isPlaced(facts: RestoreFacts, local: ValidLocal): boolean {
  const { journal, policy } = facts;
  const { origin = 'unknown', relation, changedSince, tpmIsHeads } = local;
  if (tpmIsHeads) return false;
  if (origin === 'placed') return true;
  // A host without a journal never ran the domain, as far as it knows. An older state is proved to be one.
  if (!journal && relation !== 'older') return true;
  if (policy.localState !== 'manager') return false;
  // A manager puts the state in place at each start: of this host's own is only what nobody has touched since.
  if (!journal || changedSince === true) return true;
  return !journal.ran && changedSince === undefined && origin === 'unknown' && relation !== 'newer';
}

function planPlaced({ policy }: RestoreFacts, isOther: boolean): RestoreDecision {
  switch (policy.localState ?? 'refuse') {
    case 'refuse':
      return refuse(isOther ? 'FOREIGN_TPM' : 'STATE_PLACED');
    case 'share':
      return { kind: 'restore-over-placed' };
    case 'manager':
      // A blank TPM in place of the domain's own is hardly what anybody means by it.
      return isOther ? refuse('FOREIGN_TPM') : { kind: 'keep-placed' };
  }
}

/** Whether two identities are those of two TPMs; one that is not known may be either. */
export function isOtherTpm(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other;
}

const STARTS_FROM_THE_HEAD: ReadonlySet<RestoreDecision['kind']> = new Set([
  'start-new',
  'restore-carried',
  'restore-head',
  'restore-previous',
  'keep-diverged-restore-head',
  'restore-over-placed',
]);

/** Whether what the last run left has to reach the share before this is decided for good. */
export function mustFinishFirst(
  decision: RestoreDecision,
  { spooled, localIsSpooled = false, journal }: RestoreFacts,
): boolean {
  // Its claim is still to be given back, and an incoming domain has none: the volume would stay held for ever.
  if (decision.kind === 'wait-incoming') return true;
  if (!spooled) return false;
  if (decision.kind === 'refuse') return decision.code === 'STATE_BEHIND';
  // It would follow what somebody put there as the head.
  if (decision.kind === 'keep-placed') return true;
  // A power loss may have taken the local state back to before what the spool has.
  const mayBeBehind = (!journal || journal.rebooted === true) && !localIsSpooled;
  // It would start from less than this host has, and what the spool has would follow that.
  return mayBeBehind || STARTS_FROM_THE_HEAD.has(decision.kind);
}
