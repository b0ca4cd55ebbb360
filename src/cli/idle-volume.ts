/**
 * idle-volume: the proof that nobody uses a domain's TPM, for commands that put another state into its place.
 *
 *   P1 look at the share    nobody else holds the volume, and how far its log goes
 *   P2 look at this host    the domain does not run here, nor is its start or stop under way, nor does a state of it wait in the spool
 *
 * I1 What starts after P1 makes the log grow, on whatever host. A claim on top of the log of P1 (`onTopOf`) therefore succeeds only if
 *    everything found here still holds; and a start on this host says so in its journal before it claims, so P2 misses none before P1.
 */
import type { AgentContext } from '../agent/agent-context.js';
import { domainPlace } from '../agent/domain-place.js';
import { inUse } from '../agent/start/refusal.js';
import { lookAtVolume, type VolumeLook } from '../agent/share/volume-look.js';
import { isAtRest, type JournalRecord } from '../host/journal-record.js';
import { asMirrorError, MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { stateFaultOf } from '../model/state-fault.js';
import type { ClaimOutcome, LivingHolder } from '../volume/share-store.js';
import { shortDuration } from './text-table.js';

/** What becomes of a domain whose final state is lost, or cannot be used. */
export type LostState = 'allow' | 'unusable' | 'refuse';

/** What was found of a volume that nobody uses. */
export type IdleVolume = VolumeLook;

/**
 * @param expired what becomes of a volume whose holder's heartbeat has expired: it may have been cut off and run on
 * @param lost what becomes of one whose stop waits for a final state of which nothing is left on this host,
 *   or, with `unusable`, nothing that can be stored
 * @throws MirrorError `HELD_ELSEWHERE`, `DOMAIN_RUNNING`, `STATE_BEHIND`
 */
export async function expectIdle(
  context: AgentContext,
  uuid: DomainUuid,
  expired: 'allow' | 'refuse',
  lost: LostState = 'refuse',
): Promise<IdleVolume> {
  const look = await lookAtVolume(context, uuid);
  const holder = look.volume?.holder;
  if (holder && !holder.self && (holder.alive || expired === 'refuse')) throw heldElsewhere(uuid, holder);
  await expectIdleHere(context, uuid, lost);
  return look;
}

/** P2 alone, for a volume that cannot be read. */
export async function expectIdleHere(
  context: AgentContext,
  uuid: DomainUuid,
  lost: LostState,
): Promise<void> {
  const record = await context.journal.read(uuid);
  if (record?.tpm) context.running.know?.(uuid, record.tpm.directory);
  if ((await context.running.list()).has(uuid)) throw inUse(uuid, 'running');
  if ((await context.running.guest(uuid)) === 'runs') throw inUse(uuid, 'running, without its swtpm');
  if (!record || isAtRest(record)) return;
  if (lost !== 'refuse' && record.phase === 'finishing' && (await isLost(context, record, lost))) return;
  throw unfinished(uuid, record.phase);
}

async function isLost(
  { config, files, spool }: AgentContext,
  { uuid, nvramPath, nvram, live, tpm }: JournalRecord,
  lost: LostState,
): Promise<boolean> {
  if ((await spool.peek(uuid)).newest) return false;
  try {
    await files.read(domainPlace(config, { uuid, nvramPath, live, nvram, tpm }), true);
    return false;
  } catch (error) {
    if (asMirrorError(error).code === 'NO_STATE') return true;
    if (lost === 'unusable' && stateFaultOf(error) !== undefined) return true;
    throw error;
  }
}

/** @throws MirrorError `STATE_BEHIND` when a state of the domain waits in this host's spool */
export async function expectNothingSpooled({ spool }: AgentContext, uuid: DomainUuid): Promise<void> {
  if (!(await spool.peek(uuid)).newest) return;
  throw new MirrorError(
    'STATE_BEHIND',
    `this host's spool has a state of ${uuid} that the share has not taken yet`,
    {
      next: 'it is published as soon as the share takes it: see `swtpm-mirror status`, then try again',
      retriable: true,
    },
  );
}

/** The claim that was to be made on top of what was found, or why it was not. */
export function expectClaimed(
  uuid: DomainUuid,
  outcome: ClaimOutcome,
): Extract<ClaimOutcome, { kind: 'claimed' }> {
  switch (outcome.kind) {
    case 'claimed':
      return outcome;
    case 'held':
      throw heldElsewhere(uuid, outcome.holder);
    case 'tombstoned':
      throw new MirrorError('TOMBSTONED', `the volume of ${uuid} was marked as forgotten`, {
        next: `to use it again run \`swtpm-mirror take-over ${uuid}\``,
      });
    case 'free':
    case 'moved':
      throw movedMeanwhile(uuid);
  }
}

export function movedMeanwhile(uuid: DomainUuid): MirrorError {
  return new MirrorError('TAKE_OVER_LOST', `the volume of ${uuid} came into use in this moment`, {
    next: 'see with `swtpm-mirror history --all` by whom; nothing was changed',
    retriable: true,
  });
}

function heldElsewhere(uuid: DomainUuid, { host, alive, heartbeatAgeMs }: LivingHolder): MirrorError {
  const age = heartbeatAgeMs === undefined ? '' : `, last heartbeat ${shortDuration(heartbeatAgeMs)} ago`;
  return new MirrorError(
    'HELD_ELSEWHERE',
    `host ${host} holds the volume of ${uuid} (${alive ? 'alive' : 'expired'}${age})`,
    {
      next: alive
        ? `shut the domain down on ${host} first`
        : `if the domain certainly does not run on ${host} any more, run \`swtpm-mirror take-over ${uuid}\` first`,
    },
  );
}

function unfinished(uuid: DomainUuid, phase: string): MirrorError {
  if (phase === 'prepared' || phase === 'incoming' || phase === 'leaving') return inUse(uuid, phase);
  return new MirrorError('DOMAIN_RUNNING', `this host has not stored the final state of ${uuid} yet`, {
    next: `start the agent, or run \`swtpm-mirror domain stopped ${uuid}\`; then try again`,
  });
}
