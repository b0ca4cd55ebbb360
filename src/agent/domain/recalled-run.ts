/**
 * recalled-run: where a domain's lifecycle goes on after a restart of this program, from the journal and the spool. Pure.
 */
import type { JournalRecord } from '../../host/journal-record.js';
import {
  STOPPED,
  type Hold,
  type Lifecycle,
  type Reading,
  type RunState,
} from '../../model/lifecycle-state.js';
import { HANDED_OVER } from '../../model/log-entry.js';

/**
 * @param spooledDigest of the newest capture in the spool
 * @param bootId this boot of the host
 */
export function recalledRun(
  record: JournalRecord,
  spooledDigest: string | undefined,
  bootId: string,
): Lifecycle {
  const { phase, digest, slot } = record;
  const isSpooled = spooledDigest !== undefined;
  return {
    ...STOPPED,
    run: recalledRunState(record, isSpooled, bootId),
    capturesOver: phase === 'leaving' || phase === 'handed-over',
    hold: recalledHold(record, isSpooled),
    pending: isSpooled ? { digest: spooledDigest, spooled: true } : undefined,
    unjudged: record.bootId !== bootId,
    published: digest === null ? undefined : { slot, digest },
    // Also with a capture in the spool: the stop may have been on its way to take a newer one.
    reading: recalledReading(record, spooledDigest),
    dirty: phase === 'running' || phase === 'arrived' || phase === 'finishing',
    reason: phase === 'handed-over' || phase === 'away' ? HANDED_OVER : 'recovered',
  };
}

/** What has come to rest had its final state taken: it is in the spool, or was stored. */
function recalledReading({ phase, digest }: JournalRecord, spooledDigest: string | undefined): Reading {
  if (phase !== 'stopped' && phase !== 'away') return STOPPED.reading;
  const taken = spooledDigest ?? digest;
  return taken === null ? { kind: 'missing' } : { kind: 'taken', digest: taken };
}

function recalledRunState(
  { phase, holding, runBootId }: JournalRecord,
  isSpooled: boolean,
  bootId: string,
): RunState {
  if (phase === 'prepared' || phase === 'incoming' || phase === 'finishing') return phase;
  if (phase === 'running' || phase === 'arrived') {
    // No guest outlives its host's boot: one that is seen to run has started since, past the hook, and is to be judged as such.
    return runBootId === bootId || runBootId === '' ? 'running' : 'finishing';
  }
  return holding || isSpooled ? 'finishing' : 'stopped';
}

function recalledHold({ fenced, holding, claiming, epoch, phase }: JournalRecord, isSpooled: boolean): Hold {
  // A claim that a start was about to make ended what fenced this host before.
  if (fenced && !claiming) {
    return { kind: 'fenced', epoch, by: fenced.host, ...(holding && { claimed: 'in-doubt' }) };
  }
  // A start that turned out to be a migration: its claim, if it stands, is for the arrival, or given back.
  if (phase === 'incoming' && holding) return { kind: 'wanted', how: 'migration', inDoubt: true };
  // What was under way when the former run ended is not known.
  if (holding) return { kind: 'doubt', epoch, ...(claiming && { claiming: true }) };
  if (phase === 'arrived') return { kind: 'wanted', how: 'migration', inDoubt: true };
  return phase === 'running' || phase === 'finishing' || isSpooled
    ? { kind: 'wanted', how: 'adopt', inDoubt: true }
    : STOPPED.hold;
}
