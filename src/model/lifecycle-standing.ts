/**
 * lifecycle-standing: what moves a domain's lifecycle on from the state in which it stands. Pure.
 *
 * I1 In every state that can be reached one of these holds: a task is under way or about to be begun, a timer runs that ends in an
 *    event, an attention item tells the operator what to do, or nothing is left to do (`rest`). `lifecycle-states.test.ts` walks
 *    them all; the timers run by what is told here (`agent/domain/domain-run.ts`, `agent/watch/`).
 */
import { isInUse, sameDigest } from './lifecycle-facts.js';
import type { Lifecycle, Reading } from './lifecycle-state.js';
import { nextTasks } from './lifecycle-tasks.js';
import { behindBy } from './recovery-point.js';

/**
 *   share     the pause before what failed on the share is tried again
 *   reread    the pause before files are read again that could not be read
 *   arrival   libvirt is asked whether the guest of a migration has come
 *   start     libvirt is asked what became of a start that was allowed
 */
export type Timer = 'share' | 'reread' | 'arrival' | 'start';

/** What the operator has to know, by the state alone, whatever led to it. */
export type StandingCode =
  'FENCED' | 'FOREIGN_TPM' | 'NO_STATE' | 'STATE_BEHIND' | 'PART_UNREADABLE' | 'TPM_DEAD';

export type Standing =
  | { readonly kind: 'task' }
  | { readonly kind: 'timer'; readonly timer: Timer }
  | { readonly kind: 'attention'; readonly code: StandingCode }
  | { readonly kind: 'rest' };

/** @returns `undefined` for a state in which it would stand for ever: there is none */
export function standingOf(state: Lifecycle): Standing | undefined {
  const { local, share } = nextTasks(state);
  if (state.local !== 'idle' || state.share !== 'idle' || local || share) return { kind: 'task' };
  const timer = timerOf(state);
  if (timer) return { kind: 'timer', timer };
  const [code] = attentionOf(state);
  if (code) return { kind: 'attention', code };
  return state.run !== 'finishing' && behindBy(state) === undefined ? { kind: 'rest' } : undefined;
}

function timerOf(state: Lifecycle): Timer | undefined {
  if (state.backoff) return 'share';
  if (wantsReread(state)) return 'reread';
  if (state.run === 'incoming') return 'arrival';
  return state.run === 'prepared' ? 'start' : undefined;
}

/**
 * Whether files that could not be read are to be read again by themselves. Not those of a domain that has stopped and left none:
 * what appears there later was made by somebody else, and is judged at the next start.
 */
export function wantsReread(state: Lifecycle): boolean {
  const { run, reading, dirty, local } = state;
  if (reading.kind !== 'failed' || !isInUse(state) || dirty || local !== 'idle') return false;
  return run === 'running' || !(reading.isMissing ?? reading.isForeign);
}

const NOT_READ: Reading = { kind: 'none' };

/** The gravest first. */
export function attentionOf(state: Lifecycle): readonly StandingCode[] {
  const { hold, run, tpmGone, published } = state;
  // What is being read anew, or is about to be, is told when it was.
  const reading = state.dirty || state.local === 'capturing' ? NOT_READ : state.reading;
  const found: StandingCode[] = [];
  if (hold.kind === 'fenced') found.push('FENCED');
  if (tpmGone) found.push('TPM_DEAD');
  if (reading.kind === 'failed') found.push(reading.isForeign ? 'FOREIGN_TPM' : 'NO_STATE');
  if (reading.kind === 'taken' && reading.incomplete) found.push('PART_UNREADABLE');
  if (reading.kind === 'taken' && reading.foreign) found.push('FOREIGN_TPM');
  else if (reading.kind === 'taken' && run === 'running' && hold.kind === 'held' && !state.pending) {
    const isHead = published !== undefined && sameDigest(published.digest, reading.digest);
    if (!isHead) found.push('STATE_BEHIND');
  }
  return found;
}
