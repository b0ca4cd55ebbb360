/**
 * ending: a stop of the domain, from the word that it has stopped until its final state is durable somewhere.
 */
import { asMirrorError } from '../../model/errors.js';
import { HANDED_OVER, NEVER_RAN } from '../../model/log-entry.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';
import type { AgentContext } from '../agent-context.js';
import { neitherTookIt } from '../start/refusal.js';
import { wasHandedOver } from './arrived-by-migration.js';
import type { DomainRun } from './domain-run.js';
import { isLingering, isSafe, isStuck } from './settling.js';

/** Where a domain's final state is durable. */
export type StopOutcome = 'published' | 'spooled' | 'nothing';

/**
 * Resolves when the domain's final state is durable on the share or, past `timing.stop_deadline` or the lifecycle's `stop-overdue`, in the spool.
 *
 * @param reason `migrated`: it went on on another host, so that what lies here is not its newest state
 * @throws MirrorError when neither took it
 */
export async function endRun(context: AgentContext, run: DomainRun, reason: string): Promise<StopOutcome> {
  const { clock, config } = context;
  const handedOver = reason === HANDED_OVER;
  // An incoming domain of which nobody said that it ran here, or never did: its source says it, by the reason of its release.
  const isUntold = run.state.run === 'incoming' && !handedOver && reason !== NEVER_RAN;
  if (isUntold && (await wasHandedOver(context, run.uuid, run.arrival))) {
    run.arrived();
  }
  const ran = run.state.run === 'running' && !handedOver;
  run.dispatch({ kind: 'stopped', reason, handedOver });
  const cancel = clock.after(config.timing.stopDeadlineMs, () => {
    run.dispatch({ kind: 'stop-overdue' });
  });
  try {
    // What could not be read may be read after all while the journal is written.
    do {
      await run.until(isToBeAnswered);
      await leaveShare(context, run);
      await run.record.saved();
    } while (!isToBeAnswered(run.state));
  } finally {
    cancel();
  }
  return outcomeOf(run, ran);
}

function isToBeAnswered(state: Lifecycle): boolean {
  return (
    state.run !== 'finishing' || (state.stopOverdue && isSafe(state)) || isStuck(state) || isLingering(state)
  );
}

/**
 * swtpm has ended. A link to the share goes before libvirt could delete it, and what lies behind it as soon as it is safe; what this misses, the next
 * holder's tidying finds.
 */
async function leaveShare({ files, share, log }: AgentContext, run: DomainRun): Promise<void> {
  const { uuid } = run;
  const { live } = run.place;
  if (live === undefined) return;
  await files.takeLinksAway(uuid);
  const { reading, pending, trouble } = run.state;
  if (reading.kind === 'failed' || (pending && !pending.spooled)) return;
  run.record.change({ live: null });
  if (trouble) return;
  await share.removeLive({ uuid, live }).catch((error: unknown) => {
    const { code, message } = asMirrorError(error);
    log.info({ uuid, code }, `cannot remove where the domain's swtpm worked: ${message}`);
  });
}

function outcomeOf({ uuid, attention, state }: DomainRun, ran: boolean): StopOutcome {
  const { pending, spoolFailed, reading, passedOver } = state;
  if (reading.kind === 'failed' || passedOver) throw neitherTookIt(uuid, attention);
  if (pending === undefined) return ran ? 'published' : 'nothing';
  if (spoolFailed && !pending.spooled) throw neitherTookIt(uuid, attention);
  return 'spooled';
}
