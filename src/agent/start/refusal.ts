/**
 * refusal: why a domain's start, stop or capture is refused and what its operator does next, in one sentence each. Whoever ran
 * `virsh start` reads these.
 */
import type { Manifest } from '../../bundle/manifest.js';
import type { UnstoredState } from '../../host/journal-record.js';
import { MirrorError, type ErrorCode } from '../../model/errors.js';
import { isHeadForeign } from '../../model/restore-plan.js';
import { quoted, type DomainUuid } from '../../model/identifiers.js';
import { faultCode, stateFaultOf, type StateFault } from '../../model/state-fault.js';
import { formatText, isReadEverywhere, tpmFormat } from '../../model/tpm-format.js';
import type { AttentionList } from '../attention.js';
import { statePlaced } from './placed-state.js';
import type { Situation } from './situation.js';

/** What is known of the start that is refused. */
export interface RefusedStart {
  /** Of the domain, or ''. */
  readonly name: string;
  /** How long its holder may still be silent before it counts as dead. */
  readonly leftMs: number | undefined;
}

const NO_START: RefusedStart = { name: '', leftMs: undefined };

type Wording = (situation: Situation, start: RefusedStart) => MirrorError;

const WORDINGS: Partial<Record<ErrorCode, Wording>> = {
  HELD_ELSEWHERE: heldElsewhere,
  STATE_MISSING: (situation) =>
    new MirrorError('STATE_MISSING', `${missingState(situation)}, and a blank TPM would lock its user out`, {
      next: waysToAState(situation),
    }),
  STATE_BEHIND: stateBehind,
  TOMBSTONED: ({ uuid }) =>
    new MirrorError(
      'TOMBSTONED',
      `the volume of ${uuid} was marked as forgotten; its last state is still there`,
      { next: `to use that state again run \`swtpm-mirror take-over ${uuid}\`, then start the domain` },
    ),
  FOREIGN_TPM: foreignTpm,
  GENERATION_DAMAGED: (situation) =>
    new MirrorError(
      'GENERATION_DAMAGED',
      `the newest state of ${situation.uuid} is damaged: ${damage(situation)}`,
      {
        next: `see \`swtpm-mirror verify ${situation.uuid}\`; to start with the newest whole one set start.damaged_head = "previous"`,
      },
    ),
  STATE_INVALID: stateFaulty,
  STATE_NOT_UNDERSTOOD: stateFaulty,
  STATE_PLACED: statePlaced,
  STATE_NOT_STORED: ({ uuid, record }) => notStored(uuid, record?.unstored ?? undefined),
  LIBTPMS_TOO_OLD: (situation) =>
    new MirrorError(
      'LIBTPMS_TOO_OLD',
      `the TPM state of ${situation.uuid} is of a newer libtpms than this host's, which cannot read it: ${formats(situation)}`,
      {
        next: 'upgrade libtpms and swtpm on this host, or start the domain on a host that has them; the state is unchanged',
      },
    ),
  CARRIED_INVALID: ({ uuid, carried }) =>
    new MirrorError(
      'CARRIED_INVALID',
      `${uuid} has no TPM state but the one in its definition, which cannot be used: ${carried.kind === 'unusable' ? carried.error.message : ''}`,
      {
        next: `put a good state into its volume with \`swtpm-mirror import FILE --as ${uuid}\`; or, to start with a blank TPM, take the element <state xmlns="urn:swtpm-mirror:1"> out of the definition's metadata`,
      },
    ),
};

function foreignTpm(situation: Situation): MirrorError {
  const { uuid, facts, volume } = situation;
  if (volume?.head.kind === 'whole' && isHeadForeign(facts)) {
    return foreignHead(situation, volume.head.generation.manifest);
  }
  return new MirrorError(
    'FOREIGN_TPM',
    `the local TPM of ${uuid} is another TPM than the one in its volume`,
    {
      next: `choose: \`swtpm-mirror resolve ${uuid} --keep head\` goes on with the volume's TPM, \`--keep local\` with this host's; the other one is kept`,
    },
  );
}

/** The volume goes on with another TPM than this host knows: an operator's doing, or somebody else's. */
export function foreignHead(
  { uuid, record }: Pick<Situation, 'uuid' | 'record'>,
  { slot, host, time, reason }: Pick<Manifest, 'slot' | 'host' | 'time' | 'reason'>,
): MirrorError {
  const known = record && record.slot > 0 ? `generation ${String(record.slot)}` : 'what it stored last';
  return new MirrorError(
    'FOREIGN_TPM',
    `generation ${String(slot)} of ${uuid}, written as host ${host} at ${time} (${reason}), is another TPM than the one that this host knows the domain to have (${known})`,
    {
      next: `if an operator replaced the TPM, accept it on this host with \`swtpm-mirror resolve ${uuid} --keep head\`; if nobody did, somebody wrote to the share: see \`swtpm-mirror history --all ${uuid}\`, and bring the former TPM back with \`rollback\`, or with \`resolve --keep local\``,
    },
  );
}

const FAULT_WORDS: Readonly<Record<StateFault, string>> = {
  torn: 'is torn',
  zeroed: 'ends in zeros',
  damaged: 'is invalid',
  'not-understood': 'is not understood by the swtpm-mirror of this host',
  unreadable: 'cannot be read',
};

const FAULT_NEXT: Readonly<Record<StateFault, string>> = {
  torn: 'put a good copy into the swtpm directory',
  zeroed: 'put a good copy into the swtpm directory',
  damaged: 'put a good copy into the swtpm directory',
  'not-understood': 'if a newer swtpm wrote it, upgrade swtpm-mirror on this host',
  unreadable: 'put the file or directory itself back in its place, readable, and start the domain again',
};

function formats({ local, volume }: Situation): string {
  const head = volume?.head.kind === 'whole' ? volume.head.generation.capture : undefined;
  const texts = [local, head].flatMap((capture) => {
    const format = capture && tpmFormat(capture);
    return format && !isReadEverywhere(format) ? [formatText(format)] : [];
  });
  return `${texts[0] ?? 'a newer format'}, which libtpms before 0.10 never reads`;
}

/** @param code what the plan refused with */
export function refusal(code: ErrorCode, situation: Situation, start: RefusedStart = NO_START): MirrorError {
  const word = WORDINGS[code];
  if (word) return word(situation, start);
  const unavailable = new MirrorError(code, `the start of ${situation.uuid} is refused`, {
    next: 'see `swtpm-mirror status`',
  });
  return situation.shareError ?? unavailable;
}

/** The local state cannot be judged, and may be the newest. */
function stateFaulty({ uuid, local, localError, volume }: Situation): MirrorError {
  const error = localError ?? new MirrorError('STATE_INVALID', 'it cannot be read', { next: '' });
  const fault = stateFaultOf(error) ?? 'unreadable';
  const has = volume?.head.kind === 'whole' && !local;
  const choice = has
    ? `; or go on with the volume's state: \`swtpm-mirror resolve ${uuid} --keep head\`, which keeps this one aside`
    : '; or move the directory away to start with a blank TPM';
  const what = FAULT_WORDS[fault];
  const head = has ? "it may be newer than its volume's" : 'its volume has none';
  return new MirrorError(
    faultCode(fault),
    `the local TPM state of ${uuid} ${what}, and ${head}: ${error.message}`,
    { next: `${FAULT_NEXT[fault]}${choice}`, fault },
  );
}

function heldElsewhere(situation: Situation, { name, leftMs }: RefusedStart): MirrorError {
  const { uuid, volume } = situation;
  const holder = volume?.holder;
  const next = holder?.alive
    ? `stop the domain on ${holder.host} first; if it does not run there, run \`swtpm-mirror take-over --force ${uuid}\``
    : `run \`swtpm-mirror take-over ${uuid}\` (start.take_over = "never" forbids it at start)`;
  const who = `host ${holder?.host ?? '?'}, ${signOfLife(situation)}`;
  const held = volume?.head.kind === 'whole' ? volume.head.generation.manifest.name : '';
  const whose = held === '' ? uuid : `${quoted(held)} (${uuid})`;
  const isOther = held !== '' && name !== '' && held !== name;
  const other = isOther
    ? `; the VM that is to start here is ${quoted(name)}, another name under the same UUID`
    : '';
  const seconds = leftMs === undefined ? 0 : Math.max(1, Math.ceil(leftMs / 1000));
  const wait = seconds === 0 ? '' : `; silent for ${counted(seconds)} more, it counts as dead`;
  const retry =
    seconds === 0
      ? ''
      : `; if that host is dead, try again in ${counted(seconds)}, or declare it so with \`swtpm-mirror host fenced ${holder?.host ?? 'NAME'}\``;
  const apart = `give one of the two VMs a UUID of its own, unless it is one VM that was renamed; `;
  return new MirrorError('HELD_ELSEWHERE', `the TPM state of ${whose} is held by ${who}${wait}${other}`, {
    next: `${isOther ? apart : ''}${next}${retry}`,
    retriable: true,
  });
}

function counted(seconds: number): string {
  return seconds === 1 ? '1 second' : `${String(seconds)} seconds`;
}

function stateBehind({ uuid, facts, record, volume }: Situation): MirrorError {
  const headSlot = volume?.log.head?.slot ?? 0;
  if (facts.spooled && (record?.slot ?? 0) <= headSlot) return spoolAhead(uuid);
  return new MirrorError(
    'STATE_BEHIND',
    `the volume of ${uuid} ends at generation ${String(headSlot)}, but this host knows of generation ${String(record?.slot)}`,
    {
      next: 'the share was put back from an older backup, or another export is mounted: mount the one with the newer state',
    },
  );
}

function spoolAhead(uuid: string): MirrorError {
  return new MirrorError(
    'STATE_BEHIND',
    `this host's spool has a state of ${uuid} that the share has not taken yet`,
    {
      next: 'it is published as soon as the share takes it: see `swtpm-mirror status`, then try again',
      retriable: true,
    },
  );
}

function signOfLife({ volume }: Situation): string {
  const age = volume?.holder?.heartbeatAgeMs;
  if (age === undefined) return 'which has no heartbeat';
  if (volume?.holder?.isWatched) {
    return `which is not known to be dead: its heartbeat has been watched for ${(age / 1000).toFixed(1)} s, and no clock tells its age`;
  }
  const state = volume?.holder?.alive ? 'alive' : 'expired';
  return `which is ${state} (last heartbeat ${(age / 1000).toFixed(1)} s ago)`;
}

function missingState({ uuid, facts, record, volume }: Situation): string {
  if (record && record.slot > 0) {
    return `the share has no state of ${uuid}, although this host published generation ${String(record.slot)} to it`;
  }
  const holder = volume?.holder;
  const isAbandoned = facts.volume.kind === 'empty' && facts.volume.abandoned === true;
  if (!holder && isAbandoned && facts.journal?.ran !== true) {
    return `${uuid} was started on a host that lost its volume to another one before it had stored anything`;
  }
  return holder
    ? `${uuid} was started on ${holder.host}, which never stored its state and released nothing`
    : `${uuid} has run on this host, but no state of it is left`;
}

function waysToAState({ uuid, local, volume }: Situation): string {
  if (local) {
    return `bring its volume back from a backup of the share; or, if this host has the newest state, run \`swtpm-mirror resolve ${uuid} --keep local\``;
  }
  const elsewhere = volume?.holder?.self ? '' : 'start it on the host where it last ran, or ';
  return `${elsewhere}put its state back into the swtpm directory from a backup; where none is left, \`swtpm-mirror purge ${uuid}\` gives it up: then it starts with a blank TPM, and its guest asks for the recovery key`;
}

function damage({ volume }: Situation): string {
  return volume?.head.kind === 'damaged' ? volume.head.error.message : 'it cannot be read';
}

/** A blank TPM that came up while nobody looked, most likely; the guest itself can make its TPM another one, too. */
export function anotherTpm(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'FOREIGN_TPM',
    `the TPM of ${uuid} is another one than in its volume; it is kept as a diverged copy`,
    {
      next: `see the copies with \`swtpm-mirror history --all ${uuid}\`; stop the domain and choose with \`swtpm-mirror resolve ${uuid} --keep head\` or \`--keep local\``,
    },
  );
}

/** A migration was announced, and what was started in its place is an ordinary VM. */
export function noArrival(uuid: DomainUuid, holder: string): MirrorError {
  return new MirrorError(
    'HELD_ELSEWHERE',
    `${uuid} was started in place of the migration that was announced, and ${holder} holds its TPM state`,
    {
      next: `if it does not run on ${holder} any more, start it again: the announcement is used up`,
      retriable: true,
    },
  );
}

/** The share answered when the start was prepared, and does not now. */
export function notClaimed(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'SHARE_TIMEOUT',
    `${uuid} was started in place of the migration that was announced, and the share does not answer to the claim on its volume`,
    { next: 'start it again when the share answers: the announcement is used up', retriable: true },
  );
}

export function alreadyPreparing(uuid: DomainUuid): MirrorError {
  return new MirrorError('DOMAIN_BUSY', `the start of ${uuid} is already being prepared`, {
    next: 'wait for the other start to end, then try again',
    retriable: true,
  });
}

export function alreadyRunning(uuid: DomainUuid): MirrorError {
  return new MirrorError('DOMAIN_RUNNING', `${uuid} is running on this host already`, {
    next: 'stop it before it is started again',
  });
}

export function runsWithoutTpm(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'DOMAIN_RUNNING',
    `the QEMU of ${uuid} is running on this host already, and its swtpm has ended`,
    { next: 'shut its guest down before it is started again' },
  );
}

/** For what needs a domain that has stopped. */
export function inUse(uuid: DomainUuid, run: string): MirrorError {
  return new MirrorError('DOMAIN_RUNNING', `${uuid} is in use on this host (${run})`, {
    next: 'shut the domain down first; `swtpm-mirror status` shows when its final state is stored',
  });
}

export function stillFinishing(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'SHARE_TIMEOUT',
    `the share has not yet taken the state that ${uuid} left when it last stopped`,
    {
      next: 'check that the NFS server answers; the state is safe in the spool, then try again',
      retriable: true,
    },
  );
}

export function claimUnderWay(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'OUTCOME_UNKNOWN',
    `a claim of this host for ${uuid} had no answer from the share; the volume is held elsewhere, and the claim may yet take place`,
    {
      next: 'nothing to do: should it take place, it is given back at once',
      retriable: true,
    },
  );
}

export function notRunning(uuid: DomainUuid): MirrorError {
  return new MirrorError('NO_SUCH_DOMAIN', `${uuid} is not running on this host`, {
    next: 'start it, or see its generations with `swtpm-mirror history`',
  });
}

/** What a start would make of it is a blank TPM, here or anywhere. */
export function nothingLeft(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'NO_STATE',
    `${uuid} has stopped, and no state of its TPM is left, neither here nor on the share; its volume stays held, so that it starts blank nowhere`,
    {
      next: `put its state back into the swtpm directory from a backup, then run \`swtpm-mirror domain stopped ${uuid}\`; where none is left, \`swtpm-mirror purge ${uuid}\` gives it up`,
      retriable: true,
    },
  );
}

/** What the last run here left could not be stored, and is not where it was. */
export function notStored(uuid: DomainUuid, unstored: UnstoredState | undefined): MirrorError {
  const since = unstored ? ` (${unstored.at}: ${unstored.why})` : '';
  const copy = unstored?.copy ?? undefined;
  const back = copy
    ? `put the copy in ${copy} back into the swtpm directory, on a host that reads it, and start the domain again`
    : 'put that state back into the swtpm directory, if anybody has it, and start the domain again';
  return new MirrorError(
    'STATE_NOT_STORED',
    `the last run of ${uuid} on this host ended with a TPM state that could not be stored${since}; it is gone from its place, and the volume's state is older`,
    {
      next: `${back}; or go on with the older one: \`swtpm-mirror resolve ${uuid} --keep head\``,
    },
  );
}

/** The stop's own failure: the final state is where it was, and nowhere else. */
export function neitherTookIt(uuid: DomainUuid, attention: AttentionList): MirrorError {
  const known = attention.get('spool') ?? attention.get('capture');
  if (known) return MirrorError.fromRecord({ ...known, retriable: true });
  return new MirrorError('HOST_IO', `neither the share nor the spool took the final state of ${uuid}`, {
    next: 'free space in the state directory, then run `swtpm-mirror domain stopped` again',
    retriable: true,
  });
}

/** @param by the host that has it */
export function lostTo(uuid: DomainUuid, by: string): MirrorError {
  return new MirrorError(
    'FENCED',
    `host ${by} holds the volume of ${uuid} now; what this host captures is kept as a diverged copy`,
    {
      next: `make sure that the domain runs on one host only; see the copies with \`swtpm-mirror history --all ${uuid}\``,
    },
  );
}
