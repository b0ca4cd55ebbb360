/**
 * recalled-run: where a domain's lifecycle goes on after a restart of this program, from the journal and the spool. Pure.
 */
import type { JournalRecord } from '../host/journal.js';
import { STOPPED, type Hold, type Lifecycle } from '../model/lifecycle.js';

/** @param spooledDigest of the newest capture in the spool */
export function recalledRun(record: JournalRecord, spooledDigest: string | undefined): Lifecycle {
  const { phase, holding, digest, slot } = record;
  const isUnfinished = phase === 'stopped' && (holding || spooledDigest !== undefined);
  const isLeaving = phase === 'leaving';
  return {
    ...STOPPED,
    run: isUnfinished || (isLeaving && holding) ? 'finishing' : isLeaving ? 'stopped' : phase,
    capturesOver: isLeaving,
    hold: recalledHold(record, spooledDigest !== undefined),
    pending: spooledDigest === undefined ? undefined : { digest: spooledDigest, spooled: true },
    published: digest === null ? undefined : { slot, digest },
    // Also with a capture in the spool: the stop may have been on its way to take a newer one.
    dirty: phase === 'running' || isUnfinished,
    reason: 'recovered',
  };
}

function recalledHold({ fenced, holding, epoch, phase }: JournalRecord, isSpooled: boolean): Hold {
  if (fenced) return { kind: 'fenced', epoch, by: fenced.host };
  // What was under way when the former run ended is not known.
  if (holding) return { kind: 'doubt', epoch };
  return phase === 'running' || isSpooled ? { kind: 'wanted', how: 'adopt' } : STOPPED.hold;
}
