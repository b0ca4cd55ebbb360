/**
 * lifecycle-tasks: what a domain's lifecycle wants to be begun, and the state in which that is under way. Pure; the invariants are those of
 * `lifecycle.ts`.
 */
import type { Hold, Lifecycle, LocalTask, ShareTask } from './lifecycle-state.js';

/** The task to begin now in each lane, if any. Beginning it is `begin`. */
export function nextTasks(state: Lifecycle): { local: LocalTask | undefined; share: ShareTask | undefined } {
  return { local: nextLocalTask(state), share: nextShareTask(state) };
}

function nextLocalTask(state: Lifecycle): LocalTask | undefined {
  if (state.local !== 'idle') return undefined;
  const { pending, hold } = state;
  const spoolDue = state.trouble || state.stopOverdue;
  if (pending && !pending.spooled && !state.spoolFailed && spoolDue) {
    return { kind: 'spool', diverged: hold.kind === 'fenced' || pending.foreign === true };
  }
  return state.dirty ? { kind: 'capture', final: state.run === 'finishing' } : undefined;
}

function nextShareTask(state: Lifecycle): ShareTask | undefined {
  const { hold, pending } = state;
  if (state.share !== 'idle' || state.backoff) return undefined;
  switch (hold.kind) {
    case 'none':
      return undefined;
    case 'wanted':
      return state.run === 'running' || pending ? { kind: 'acquire', how: hold.how } : undefined;
    case 'doubt':
      return {
        kind: 'acquire',
        how: 'recover',
        epoch: hold.epoch,
        ...(hold.claiming && { claiming: true }),
        logTop: hold.logTop,
      };
    case 'fenced':
      if (pending) return { kind: 'diverge', epoch: hold.epoch };
      return hold.claimed && isAllTaken(state) ? giveBack(state, hold) : undefined;
    case 'held':
      return nextHeldTask(state, hold);
  }
}

function giveBack({ reason }: Lifecycle, { claimed, logTop }: Extract<Hold, { kind: 'fenced' }>): ShareTask {
  return { kind: 'give-back', reason, inDoubt: claimed === 'in-doubt', logTop };
}

function nextHeldTask(
  state: Lifecycle,
  { epoch, next }: Extract<Hold, { kind: 'held' }>,
): ShareTask | undefined {
  const final = state.run === 'finishing';
  if (state.pending?.foreign) return { kind: 'diverge', epoch };
  if (state.pending) return { kind: 'publish', epoch, slot: next, parent: state.published?.slot ?? 0, final };
  if (isAllTaken(state) && isFinalTaken(state)) {
    return { kind: 'release', epoch, slot: next, reason: state.reason };
  }
  if (final) return undefined;
  if (state.unconfirmed) return { kind: 'confirm', epoch, slot: next };
  return state.untidy ? { kind: 'tidy', epoch } : undefined;
}

/** Whether the domain has stopped and nothing more of it is to be read. */
function isAllTaken({ run, dirty, local }: Lifecycle): boolean {
  return run === 'finishing' && !dirty && local === 'idle';
}

/** Whether there is evidence of the final state, or no need of one (I4). */
function isFinalTaken({ capturesOver, reading }: Lifecycle): boolean {
  return capturesOver || reading.kind === 'taken' || reading.kind === 'missing';
}

/** The state in which a task is in flight. */
export function begin(state: Lifecycle, task: LocalTask | ShareTask): Lifecycle {
  switch (task.kind) {
    case 'capture':
      return { ...state, local: 'capturing' };
    case 'spool':
      return { ...state, local: 'spooling' };
    case 'publish':
    case 'diverge':
      return { ...state, share: task.kind, carrying: state.pending?.digest };
    case 'confirm':
      return { ...state, share: task.kind, unconfirmed: false };
    default:
      return { ...state, share: task.kind };
  }
}
