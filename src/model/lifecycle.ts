/**
 * lifecycle: the state machine of one domain on one host. Pure: `step(state, event)` gives the next state, `nextTasks(state)` what
 * to begin now (`lifecycle-tasks.ts`). The replicator runs the tasks and feeds their outcomes back as events.
 *
 *              prepared            started             stopped
 *   stopped ------------> prepared -------> running ------------> finishing ----> stopped
 *      |                     |  stopped        ^                     (final state and release on their way)
 *      |   incoming          +-----------------|--------------------->
 *      +------------------> incoming ----------+ confirmed running here
 *
 * Beside the run state stands the hold, what this host knows of its claim on the volume:
 *
 *   none      nothing claimed, nothing to claim
 *   wanted    the domain runs here and the volume must still be acquired
 *   held      epoch and next slot are known; the only state that publishes or releases
 *   doubt     held, but a commit has an unknown outcome (or the agent was restarted): left only by a new claim
 *   fenced    another host holds the volume, or had the domain meanwhile: this host publishes nothing more, and keeps what it has as diverged. A claim of
 *             its own that stands all the same (an operator forced the volume back, a start failed), or may yet, is given back when the domain has stopped.
 *
 * Two lanes run side by side, at most one task in each: `local` (capture, spool) and `share` (everything on the share), so that a share
 * that hangs never holds up a capture.
 *
 * I1 Publishing and closing happen only in `held`, and after either failed in doubt only a claim follows (P: `doubt`). A claim that does not count is
 *    given back after a look at the log, as often as it takes.
 * I2 `fenced` is never left for `held` within one run of the domain.
 * I3 A capture leaves `pending` only when the share has it as head or as a diverged copy, or when a newer capture replaces it.
 * I4 The volume is released only when the final capture was taken and nothing is pending. Where the final state is there and cannot be
 *    read, or is gone and none was ever stored (what another TPM left in its place is none), the volume stays held: another host would start from
 *    less, or from nothing.
 * I5 A domain that never ran here (prepared or incoming, then stopped) captures nothing, and so publishes nothing of its own. Of one that was handed over
 *    nothing more is taken up, not even what was being read when that was told.
 * I6 A capture of another TPM than the volume's never becomes its head: it is kept as a diverged copy, and the volume stays held until
 *    the domain has stopped.
 * I7 A run, and its stop, begin with no reading, and with nothing of the run before them but what waits to be stored and what it
 *    is judged by.
 */
import { atStop, hasNothingToGiveBack, whenIncoming, whenOver } from './hold.js';
import { isInUse, isUp, sameDigest } from './lifecycle-facts.js';
import { stepShare, wantIfNeeded } from './lifecycle-share.js';
import { STOPPED, type Hold, type Lifecycle, type LifecycleEvent, type Reading } from './lifecycle-state.js';

export function step(state: Lifecycle, event: LifecycleEvent): Lifecycle {
  switch (event.kind) {
    case 'prepared':
      return {
        ...STOPPED,
        run: 'prepared',
        hold: event.hold,
        published: event.published,
        pending: event.pending,
      };
    case 'incoming':
      return { ...STOPPED, run: 'incoming', hold: whenIncoming(state.hold), published: state.published };
    case 'started':
      return started(state);
    case 'changed':
      return isInUse(state) ? { ...state, dirty: true } : state;
    case 'reading':
      return { ...state, dirty: false };
    case 'stopped':
      return stopped(state, event.reason, event.handedOver);
    case 'stop-overdue':
      return state.run === 'finishing' ? { ...state, stopOverdue: true } : state;
    case 'captured':
      return settle(takeAgain(captured({ ...state, local: 'idle' }, event)));
    case 'capture-failed':
      return settle(captureFailed({ ...state, local: 'idle' }, event.again, event.missing));
    case 'completed':
      return completed(state, event);
    case 'spooled':
      return spooled({ ...state, local: 'idle' }, event.digest);
    case 'spool-failed':
      return settle({ ...state, local: 'idle', spoolFailed: true });
    case 'tpm-gone':
    case 'tpm-back':
      return withTpm(state, event.kind === 'tpm-gone');
    case 'unsure':
      return isUp(state) ? { ...state, unconfirmed: true } : state;
    case 'retry':
      return { ...state, backoff: false, spoolFailed: false };
    default:
      return settle(takeAgain(stepShare(state, event)));
  }
}

function started(state: Lifecycle): Lifecycle {
  // Told again, of the same run; or of another one, whose start and whose predecessor's stop nobody saw.
  if (state.run === 'running' && !state.tpmGone) return state;
  const how = state.run === 'incoming' ? 'migration' : 'adopt';
  const hold: Hold = state.hold.kind === 'none' ? { kind: 'wanted', how } : state.hold;
  return { ...state, ...ANEW, run: 'running', hold, dirty: true, capturesOver: false };
}

/** What a run, or the stop that ends it, has of its own: nothing of it outlives either (I7). */
const ANEW = {
  reading: { kind: 'none' },
  tpmGone: false,
  passedOver: false,
  spoolFailed: false,
  stopOverdue: false,
  reason: '',
} as const satisfies Partial<Lifecycle>;

function stopped(state: Lifecycle, reason: string, handedOver: boolean): Lifecycle {
  // Told again: it may have run once more past the hook, or somebody has mended what could not be read.
  if (state.run === 'finishing') {
    return settle({ ...state, dirty: !state.capturesOver, reading: { kind: 'none' } });
  }
  if (state.run === 'stopped') return state;
  const ran = state.run === 'running';
  const capturesOver = handedOver || !ran;
  return settle(
    wantIfNeeded({
      ...state,
      ...ANEW,
      run: 'finishing',
      hold: atStop(state.hold),
      reason,
      capturesOver,
      dirty: !capturesOver,
      unconfirmed: false,
    }),
  );
}

/** What a swtpm that has ended left is read once more, and so is what one finds that has come back. */
function withTpm(state: Lifecycle, tpmGone: boolean): Lifecycle {
  return state.run === 'running' && state.tpmGone !== tpmGone ? { ...state, tpmGone, dirty: true } : state;
}

function captureFailed(state: Lifecycle, again: boolean, missing: boolean): Lifecycle {
  // What goes on elsewhere, or never ran here, has nothing here that counts.
  if (!isInUse(state)) return state;
  if (again) return { ...state, dirty: true };
  // A domain that runs makes its state anew, as soon as it changes it.
  const isStored = missing && state.run === 'finishing' && hasOwnState(state);
  if (isStored) return { ...state, reading: { kind: 'missing' } };
  return { ...state, reading: { kind: 'failed', ...(missing && { isMissing: true }) } };
}

type Captured = Extract<LifecycleEvent, { kind: 'captured' }>;

function captured(before: Lifecycle, event: Captured): Lifecycle {
  // Read while the stop was told: what goes on elsewhere has a newer state there.
  if (!isInUse(before)) return before;
  const { digest, foreign } = event;
  const state: Lifecycle = { ...before, reading: readingOf(before, event) };
  const { pending: waiting } = state;
  if (waiting?.digest === digest) return state;
  const isOther = waiting !== undefined && (waiting.foreign ?? false) !== (foreign ?? false);
  if (isOther || (waiting?.spooled && state.unjudged)) return { ...state, passedOver: true };
  // Judged or stored before: it says nothing about what waits, which may be the newer one.
  if (state.outdated.includes(digest)) return state;
  if (state.published && sameDigest(state.published.digest, digest)) {
    // Back at what the share has: an older pending capture is history. One under way, or in doubt, is not, for it may become the head.
    const headMayMove = state.carrying !== undefined || state.hold.kind === 'doubt';
    if (!headMayMove) return { ...state, pending: undefined };
  }
  const pending = { digest, spooled: false, ...(foreign && { foreign }) };
  return wantIfNeeded({ ...state, pending, spoolFailed: false });
}

function readingOf(state: Lifecycle, { digest, foreign, incomplete }: Captured): Reading {
  if (foreign && isWithoutOwnState(state)) return { kind: 'failed', isForeign: true };
  return { kind: 'taken', digest, ...(foreign && { foreign }), ...(incomplete && { incomplete }) };
}

/** Whether a stop that goes on would give up a volume in which no state of its own TPM is. */
function isWithoutOwnState(state: Lifecycle): boolean {
  const { run, capturesOver, hold } = state;
  const holds = hold.kind === 'held' || hold.kind === 'doubt';
  return run === 'finishing' && !capturesOver && holds && !hasOwnState(state);
}

/** Whether a state of the volume's own TPM is stored, or about to be. */
function hasOwnState({ published, pending }: Lifecycle): boolean {
  return published !== undefined || (pending !== undefined && !pending.foreign);
}

function completed(state: Lifecycle, { from, digest }: { from: string; digest: string }): Lifecycle {
  const { pending, reading } = state;
  if (pending?.digest !== from) return state;
  const isRead = reading.kind === 'taken' && reading.digest === from;
  return {
    ...state,
    pending: { ...pending, digest, spooled: false },
    reading: isRead ? { ...reading, digest } : reading,
  };
}

function spooled(state: Lifecycle, digest: string): Lifecycle {
  const { pending } = state;
  return settle(
    pending?.digest === digest
      ? { ...state, pending: { ...pending, spooled: true }, spoolFailed: false }
      : state,
  );
}

/** There is room again for a capture that was passed over. */
function takeAgain(state: Lifecycle): Lifecycle {
  if (!state.passedOver || state.pending) return state;
  return { ...state, passedOver: false, dirty: state.dirty || isInUse(state) };
}

/** Ends a stop that has nothing left to do. */
function settle(state: Lifecycle): Lifecycle {
  if (state.run !== 'finishing' || !isQuiet(state)) return state;
  const hold = whenOver(state.hold);
  if (!hasNothingToGiveBack(hold)) return { ...state, hold };
  // Of a fenced run, too, what is there and was not read is on this host alone.
  if (hold.kind === 'fenced' && state.reading.kind === 'failed' && !state.reading.isMissing) return state;
  return {
    ...state,
    run: 'stopped',
    dirty: false,
    stopOverdue: false,
    hold: hold.kind === 'fenced' ? hold : { kind: 'none' },
  };
}

function isQuiet(state: Lifecycle): boolean {
  return !state.dirty && state.local === 'idle' && state.share === 'idle' && state.pending === undefined;
}
