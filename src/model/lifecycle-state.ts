/**
 * lifecycle-state: what is known of one domain on one host, what can be begun for it, and what can happen. Types, and the state that all begins with; how
 * one follows from another, and what always holds, is `lifecycle.ts`.
 */
import type { Slot } from './generation-name.js';

export type RunState = 'stopped' | 'prepared' | 'incoming' | 'running' | 'finishing';

export type Hold =
  | { readonly kind: 'none' }
  /** `inDoubt`: a claim of this host may have taken place, so that a stop has something to release. */
  | { readonly kind: 'wanted'; readonly how: 'adopt' | 'migration'; readonly inDoubt?: true }
  | { readonly kind: 'held'; readonly epoch: Slot; readonly next: Slot }
  /** `claiming`: what is in doubt is a claim, which may yet take place. `logTop`: see `Unsettled`. */
  | { readonly kind: 'doubt'; readonly epoch: Slot; readonly claiming?: true; readonly logTop?: Slot }
  /** `claimed`: a claim of this host may stand all the same, to be given back when the domain has stopped; 'in-doubt': or may yet take place. */
  | {
      readonly kind: 'fenced';
      readonly epoch: Slot;
      readonly by: string;
      readonly claimed?: 'stands' | 'in-doubt';
      readonly logTop?: Slot;
    };

/**
 * A claim in doubt aims at the slot after the log's top, where only another entry ends it: one of this host's where the volume is free, and otherwise
 * whatever its holder writes next.
 */
export interface Unsettled {
  /** Where the log ended when it was first read after the doubt. */
  readonly logTop?: Slot | undefined;
}

/** The newest valid capture that the share does not have. */
export interface Pending {
  readonly digest: string;
  /** Whether it is durable in this host's spool. */
  readonly spooled: boolean;
  /** It is another TPM's than the volume's: kept as a diverged copy, never published. */
  readonly foreign?: boolean;
}

/** What the last reading of the domain's files came to, in this run and, once it has stopped, since it stopped. */
export type Reading =
  | { readonly kind: 'none' }
  /** `foreign`: of another TPM than the volume's. `incomplete`: a part that is no TPM's could not be read, and stands as it was before. */
  | {
      readonly kind: 'taken';
      readonly digest: string;
      readonly foreign?: true;
      readonly incomplete?: true;
    }
  /** No state is there any more, and the share has, or is about to have, one of this TPM. */
  | { readonly kind: 'missing' }
  /** Nothing on the share stands for what lies there. `isMissing`: no state does. `isForeign`: another TPM's does, and the volume has none. */
  | { readonly kind: 'failed'; readonly isMissing?: true; readonly isForeign?: true };

/** What the share has from this host's point of view; a digest may be only a prefix, as a name in the log gives it. */
export interface PublishedState {
  readonly slot: Slot;
  readonly digest: string;
  /** When it was stored, RFC 3339 UTC, where that is known: for display only. */
  readonly at?: string | undefined;
}

export interface Lifecycle {
  readonly run: RunState;
  readonly hold: Hold;
  readonly pending: Pending | undefined;
  readonly published: PublishedState | undefined;
  /** The state on disk may differ from the last capture. */
  readonly dirty: boolean;
  readonly local: 'idle' | 'capturing' | 'spooling';
  readonly share: ShareTask['kind'] | 'idle';
  /** Digest of the capture that the share task in flight carries. */
  readonly carrying: string | undefined;
  /** What lies on the disk may be from before what the spool has: a power loss takes back what swtpm never synced. */
  readonly unjudged: boolean;
  /** A capture was passed over for what is pending: it is of another TPM, or not judged yet, and there is room for one. Taken again after that. */
  readonly passedOver: boolean;
  /** The last share task failed: what is pending belongs into the spool. */
  readonly trouble: boolean;
  /** Waiting before the share is tried again. */
  readonly backoff: boolean;
  /** The last attempt to spool failed: not tried again before the next capture or retry. */
  readonly spoolFailed: boolean;
  readonly reading: Reading;
  /** The domain's swtpm has ended, and nobody said that the domain has: its guest may run on without a TPM. */
  readonly tpmGone: boolean;
  /** Digests of captures that must not follow the head: older ones that a former run of the program left, and those kept as diverged. */
  readonly outdated: readonly string[];
  /** Whether this host's claim still stands is to be looked up. */
  readonly unconfirmed: boolean;
  /** Sweep and prune are due. */
  readonly untidy: boolean;
  /** Nothing more is captured: the domain went to another host, or never ran here. */
  readonly capturesOver: boolean;
  /** The stop has waited long enough for the share. */
  readonly stopOverdue: boolean;
  readonly reason: string;
}

export type ShareTask =
  | { readonly kind: 'acquire'; readonly how: 'adopt' | 'migration' }
  /** `epoch`: under which this host last knew to hold the volume; 0 for none. */
  | ({
      readonly kind: 'acquire';
      readonly how: 'recover';
      readonly epoch: Slot;
      readonly claiming?: true;
    } & Unsettled)
  | {
      readonly kind: 'publish';
      readonly epoch: Slot;
      readonly slot: Slot;
      readonly parent: Slot;
      readonly final: boolean;
    }
  | { readonly kind: 'release'; readonly epoch: Slot; readonly slot: Slot; readonly reason: string }
  | { readonly kind: 'diverge'; readonly epoch: Slot }
  /** Whatever claim of this host ends the log, or may yet. */
  | ({ readonly kind: 'give-back'; readonly reason: string; readonly inDoubt: boolean } & Unsettled)
  /** `slot`: the first that this host has not written under its claim. */
  | { readonly kind: 'confirm'; readonly epoch: Slot; readonly slot: Slot }
  | { readonly kind: 'tidy'; readonly epoch: Slot };

export type LocalTask =
  | { readonly kind: 'capture'; readonly final: boolean }
  | { readonly kind: 'spool'; readonly diverged: boolean };

export type LifecycleEvent =
  /** This and `incoming` begin a run, with no task in flight: its outcome would be taken for one of the new run's. */
  | {
      readonly kind: 'prepared';
      readonly hold: Hold;
      readonly published: PublishedState | undefined;
      readonly pending: Pending | undefined;
    }
  | { readonly kind: 'incoming' }
  | { readonly kind: 'started' }
  | { readonly kind: 'changed' }
  /** A capture that has begun now reads: changes from here on want another one. */
  | { readonly kind: 'reading' }
  | { readonly kind: 'stopped'; readonly reason: string; readonly handedOver: boolean }
  | { readonly kind: 'stop-overdue' }
  /** `foreign`: of another TPM than the volume's. `incomplete`: what is no TPM's (the NVRAM) could not be read, and stands as it was before. */
  | {
      readonly kind: 'captured';
      readonly digest: string;
      readonly foreign?: boolean;
      readonly incomplete?: boolean;
    }
  /** `again`: the state was in motion; otherwise there is none (`missing`), or it cannot be read, until it changes. */
  | { readonly kind: 'capture-failed'; readonly again: boolean; readonly missing: boolean }
  /** What is pending holds more than was known when it was read. */
  | { readonly kind: 'completed'; readonly from: string; readonly digest: string }
  | { readonly kind: 'spooled'; readonly digest: string }
  | { readonly kind: 'spool-failed' }
  /**
   * `history`: digests of everything that the volume's log has published; `outdated`: of what a former run left and must not follow the
   * head, where that was judged; `foreign`: what is pending is of another TPM than the head.
   */
  | {
      readonly kind: 'acquired';
      readonly epoch: Slot;
      readonly published: PublishedState | undefined;
      readonly history: readonly string[];
      readonly outdated?: readonly string[] | undefined;
      readonly foreign?: boolean;
      /** The claim was made for nothing but to settle what was in doubt: it is given back, and nothing is captured for it. */
      readonly onlySettles?: true;
    }
  | { readonly kind: 'fenced'; readonly by: string; readonly claimed?: true }
  | ({ readonly kind: 'published' } & PublishedState)
  | { readonly kind: 'diverged'; readonly digest: string }
  | { readonly kind: 'released' }
  | { readonly kind: 'tidied' }
  | { readonly kind: 'confirmed' }
  /** The claim is not the last word of the volume any more. */
  | { readonly kind: 'doubted' }
  | ({ readonly kind: 'share-failed'; readonly inDoubt: boolean } & Unsettled)
  /** Another host may have taken the volume over, and nobody would have told this one. */
  | { readonly kind: 'unsure' }
  /** Its swtpm is seen to run no more, or to run again. What a swtpm that has ended left is final. */
  | { readonly kind: 'tpm-gone' }
  | { readonly kind: 'tpm-back' }
  | { readonly kind: 'retry' };

export const STOPPED: Lifecycle = {
  run: 'stopped',
  hold: { kind: 'none' },
  pending: undefined,
  unjudged: false,
  passedOver: false,
  published: undefined,
  dirty: false,
  local: 'idle',
  share: 'idle',
  carrying: undefined,
  trouble: false,
  backoff: false,
  spoolFailed: false,
  reading: { kind: 'none' },
  tpmGone: false,
  outdated: [],
  unconfirmed: false,
  untidy: false,
  capturesOver: false,
  stopOverdue: false,
  reason: '',
};
