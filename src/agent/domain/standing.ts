/**
 * standing: what an operator is told of a state in which a domain's lifecycle stands, where no error told it more exactly.
 */
import { MirrorError } from '../../model/errors.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { StandingCode } from '../../model/lifecycle-standing.js';
import type { Lifecycle } from '../../model/lifecycle-state.js';
import type { AttentionTopic } from '../attention.js';
import { anotherTpm, lostTo } from '../start/refusal.js';

export const STANDING_TOPIC: Readonly<Record<StandingCode, AttentionTopic>> = {
  FENCED: 'fence',
  FOREIGN_TPM: 'capture',
  NO_STATE: 'capture',
  STATE_BEHIND: 'capture',
  PART_UNREADABLE: 'nvram',
  TPM_DEAD: 'tpm',
};

export function standingError(code: StandingCode, uuid: DomainUuid, { hold }: Lifecycle): MirrorError {
  switch (code) {
    case 'FENCED':
      return lostTo(uuid, hold.kind === 'fenced' ? hold.by : '?');
    case 'FOREIGN_TPM':
      return anotherTpm(uuid);
    case 'NO_STATE':
      return unreadState(uuid);
    case 'STATE_BEHIND':
      return notTheHead(uuid);
    case 'PART_UNREADABLE':
      return unreadPart(uuid);
    case 'TPM_DEAD':
      return tpmDead(uuid, 'unknown');
  }
}

/**
 * @param uuid of a domain that nobody said has stopped, and whose swtpm runs no more
 * @param fate of its guest
 */
export function tpmDead(uuid: DomainUuid, fate: 'runs' | 'unknown'): MirrorError {
  const stored = 'what its TPM wrote last is stored, and its volume stays held';
  return fate === 'runs'
    ? new MirrorError(
        'TPM_DEAD',
        `the swtpm of ${uuid} has ended, and its guest runs on: its TPM answers nothing any more; ${stored}`,
        {
          next: 'shut the guest down and start it again on this host: that brings its TPM back; until then do not start it elsewhere',
        },
      )
    : new MirrorError(
        'TPM_DEAD',
        `the swtpm of ${uuid} has ended, and nobody said that the domain has stopped: if its guest runs on, it does without a TPM; ${stored}`,
        {
          next: `see whether its QEMU runs; if it does, shut the guest down and start it again; if it does not, run \`swtpm-mirror domain stopped ${uuid}\``,
        },
      );
}

function unreadState(uuid: DomainUuid): MirrorError {
  return new MirrorError('NO_STATE', `the TPM state of ${uuid} on this host could not be read`, {
    next: `see the log for what kept it from being read, then run \`swtpm-mirror capture ${uuid}\`, or, if the domain has stopped, \`swtpm-mirror domain stopped ${uuid}\``,
    retriable: true,
  });
}

function unreadPart(uuid: DomainUuid): MirrorError {
  return new MirrorError('PART_UNREADABLE', `a part of ${uuid} beside its TPM cannot be stored as it is`, {
    next: `see which, and why, with \`swtpm-mirror status ${uuid}\``,
  });
}

function notTheHead(uuid: DomainUuid): MirrorError {
  return new MirrorError(
    'STATE_BEHIND',
    `the state with which ${uuid} runs is not the head of its volume; it is kept in the volume's history`,
    {
      next: `what the guest changes next becomes the head; compare with \`swtpm-mirror history --all ${uuid}\``,
    },
  );
}
