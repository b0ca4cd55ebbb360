/**
 * arrived-by-migration: whether a domain that came here has its volume's newest state, judged by
 * `model/arrival.ts` on what the share says now and this host knew when the migration was announced.
 */
import type { Arrival } from '../../host/journal-record.js';
import { cameByHandOver, judgeArrival, type ArrivalVerdict, type Provenance } from '../../model/arrival.js';
import { asMirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import { readWholeLog } from '../share/volume-look.js';
import type { Situation } from '../start/situation.js';
import type { DomainTask } from './domain-task.js';

/** A source that is silent although its guest is here: its own hook may be about to give the volume up. */
const HAND_OVER_MS = 5_000;

/**
 * A source that leaves no claim with its guest has this long to give the volume up, in heartbeats that
 * would have to be missed. One that goes on holding it later runs a guest of its own.
 */
const EXPIRIES_TO_HAND_OVER = 2;

export function verdictOn(
  { config, identity }: AgentContext,
  { arrival, arrivedForMs }: Pick<DomainTask, 'arrival' | 'arrivedForMs'>,
  { volume, facts }: Situation,
): ArrivalVerdict {
  const provenance = provenanceOf(arrival);
  const { timing } = config;
  const isSilent = facts.holder === 'other-expired';
  const verdict = judgeArrival(volume?.log, identity, provenance, !isSilent || arrivedForMs < HAND_OVER_MS);
  const patienceMs = EXPIRIES_TO_HAND_OVER * timing.hostExpiryMs + timing.stopDeadlineMs;
  const isOverdue = provenance.claim === undefined && arrivedForMs > patienceMs;
  return verdict === 'waiting' && isOverdue ? 'unproved' : verdict;
}

/** Whether the volume's last holder released it because this domain had migrated here. `false` when the share cannot say. */
export async function wasHandedOver(
  context: AgentContext,
  uuid: DomainUuid,
  arrival: Arrival | undefined,
): Promise<boolean> {
  try {
    const { volume } = await readWholeLog(context, uuid);
    return volume !== undefined && cameByHandOver(volume.log, context.identity, provenanceOf(arrival));
  } catch (error) {
    const { code, message } = asMirrorError(error);
    context.log.warn({ uuid, code }, `cannot see whether ${uuid} has arrived here: ${message}`);
    return false;
  }
}

function provenanceOf(arrival: Arrival | undefined): Provenance {
  return {
    claim: arrival?.claim ?? undefined,
    source: arrival?.source ?? undefined,
    logTop: arrival?.logTop ?? undefined,
  };
}
