/**
 * What a run leaves in the journal is enough to go on with after a restart of the program, wherever that ended it.
 */
import t from 'tap';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { DomainRecord } from '../../../src/agent/domain/domain-record.js';
import { recalledRun } from '../../../src/agent/domain/recalled-run.js';
import { HANDED_OVER, START_FAILED } from '../../../src/model/log-entry.js';
import type { JournalRecord } from '../../../src/host/journal-record.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { step } from '../../../src/model/lifecycle.js';
import { STOPPED, type Lifecycle, type LifecycleEvent } from '../../../src/model/lifecycle-state.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d' as DomainUuid;
const DIGEST = 'a'.repeat(64);

/** What the journal says when the program ends in that state. */
function recordOf(state: Lifecycle): JournalRecord {
  const context = { journal: {}, clock: { nowMs: () => 0 }, bootId: 'boot' } as unknown as AgentContext;
  const record = new DomainRecord(context, UUID, () => undefined);
  record.follow(state, undefined);
  if (!record.current) throw new Error('there is a record');
  return record.current;
}

function after(...events: readonly LifecycleEvent[]): Lifecycle {
  return events.reduce(step, STOPPED);
}

const WITHOUT_SHARE = {
  kind: 'prepared',
  hold: { kind: 'wanted', how: 'adopt' },
  published: undefined,
  pending: undefined,
} as const;
const HELD = { ...WITHOUT_SHARE, hold: { kind: 'held', epoch: 3, next: 4 } } as const;
const SPOOLED = { ...HELD, pending: { digest: DIGEST, spooled: true } } as const;
const STARTED = { kind: 'started' } as const;

function stopped(reason: string): LifecycleEvent {
  return { kind: 'stopped', reason, handedOver: reason === HANDED_OVER };
}

interface Case {
  readonly name: string;
  readonly events: readonly LifecycleEvent[];
  /** Digest of what is in the spool. */
  readonly spooled?: string;
  readonly recalled: Partial<Lifecycle>;
}

const CASES: readonly Case[] = [
  {
    name: 'G5: the final state of a domain that was started without the share is still to be read',
    events: [WITHOUT_SHARE, STARTED, stopped('shutdown')],
    recalled: { run: 'finishing', dirty: true, capturesOver: false, hold: WITHOUT_SHARE.hold },
  },
  {
    name: 'G5: the final state of one that came by migration, and was not claimed yet, is still to be read',
    events: [{ kind: 'incoming' }, STARTED, stopped('shutdown')],
    recalled: { run: 'running', dirty: true, hold: { kind: 'wanted', how: 'migration' } },
  },
  {
    name: 'G5: a final state under way, under a claim',
    events: [HELD, STARTED, stopped('shutdown')],
    recalled: { run: 'finishing', dirty: true, hold: { kind: 'doubt', epoch: 3 } },
  },
  {
    name: 'what a start that failed has written is not read, whatever the spool has',
    events: [SPOOLED, stopped('failed')],
    spooled: DIGEST,
    recalled: { run: 'finishing', dirty: false, capturesOver: true, pending: SPOOLED.pending },
  },
  {
    name: 'G4: that a domain has gone to another host is not forgotten when its claim is given back',
    events: [HELD, STARTED, stopped(HANDED_OVER), { kind: 'released' }],
    recalled: { run: 'stopped', dirty: false, hold: { kind: 'none' }, reason: HANDED_OVER },
  },
  {
    name: 'G3: a host that was fenced stays fenced',
    events: [HELD, STARTED, { kind: 'fenced', by: 'kvm-b' }],
    recalled: { run: 'running', hold: { kind: 'fenced', epoch: 3, by: 'kvm-b' } },
  },
  {
    name: 'G3: so does one whose own claim stands all the same, and it is still to be given back',
    events: [HELD, STARTED, { kind: 'fenced', by: 'kvm-b', claimed: true }],
    recalled: { run: 'running', hold: { kind: 'fenced', epoch: 3, by: 'kvm-b', claimed: 'in-doubt' } },
  },
  {
    name: 'a claim that may be under way is still to be settled',
    events: [
      { ...HELD, hold: { kind: 'doubt', epoch: 3, claiming: true } },
      { kind: 'stopped', reason: START_FAILED, handedOver: false },
    ],
    recalled: { run: 'finishing', capturesOver: true, hold: { kind: 'doubt', epoch: 3, claiming: true } },
  },
];

t.test('G4: after a reboot, a guest that ran is over, and what it left is still to be read', (t) => {
  const running = recordOf(after(HELD, STARTED));
  t.match(recalledRun(running, undefined, 'boot'), { run: 'running', dirty: true });
  const recalled = recalledRun(running, undefined, 'next boot');
  t.match(recalled, {
    run: 'finishing',
    dirty: true,
    capturesOver: false,
    hold: { kind: 'doubt', epoch: 3 },
  });
  t.end();
});

for (const { name, events, spooled, recalled } of CASES) {
  t.test(name, (t) => {
    t.match(recalledRun(recordOf(after(...events)), spooled, 'boot'), recalled);
    t.end();
  });
}
