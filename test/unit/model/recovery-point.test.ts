/**
 * What is said of the recovery point, against what the guest really wrote and what the share really has: under every order of
 * writes, readings that fail, publishes that fail or hang, stops and starts.
 */
import fc from 'fast-check';
import t from 'tap';
import { sameDigest } from '../../../src/model/lifecycle-facts.js';
import { step } from '../../../src/model/lifecycle.js';
import { STOPPED, type Lifecycle, type LifecycleEvent } from '../../../src/model/lifecycle-state.js';
import { begin, nextTasks } from '../../../src/model/lifecycle-tasks.js';
import {
  advancePoint,
  behindBy,
  behindSince,
  NOTHING_BEHIND,
  recalledPoint,
  type RecoveryPoint,
} from '../../../src/model/recovery-point.js';
import { digestOf, SimulatedDomain } from '../../fakes/simulated-domain.js';

/** A simulated domain with its recovery point, and what the guest really wrote. Time goes on by one at each move. */
class Witness {
  readonly domain = new SimulatedDomain();
  point: RecoveryPoint = NOTHING_BEHIND;
  nowMs = 0;
  /** Contents of the disk in their order, each noticed as soon as it was written. */
  #contents: { readonly atMs: number; readonly digest: string }[] = [];

  constructor() {
    this.domain.onState = (before, after) => {
      this.point = advancePoint(this.point, before, after, this.nowMs);
    };
  }

  act(move: (domain: SimulatedDomain) => void): void {
    this.nowMs += 1;
    const { disk } = this.domain;
    const runs = this.domain.guestRuns;
    move(this.domain);
    if (this.domain.disk !== disk && runs && this.domain.guestRuns) {
      this.#contents.push({ atMs: this.nowMs, digest: this.domain.disk });
    }
    // What its manager deleted before it could be read is nowhere to be read.
    if (this.domain.state.reading.kind === 'missing') this.#contents = [];
    if (!runs && this.domain.guestRuns) this.#contents = [{ atMs: 0, digest: this.domain.disk }];
  }

  /** When the guest wrote the oldest change that the head does not contain. */
  get unstoredSinceMs(): number | undefined {
    const head = this.domain.head?.digest;
    const stored = this.#contents.findLastIndex(({ digest }) => digest === head);
    const [first] = this.#contents.slice(stored + 1);
    return first && first.atMs > 0 ? first.atMs : undefined;
  }
}

type Move = readonly [string, (domain: SimulatedDomain) => void];

const MOVES: readonly Move[] = [
  ['prepare', (domain) => domain.prepare()],
  ['start', (domain) => domain.start()],
  ['stop', (domain) => domain.stop()],
  ['write', (domain) => domain.write()],
  ['write', (domain) => domain.write()],
  ['write again', (domain) => domain.write(9001)],
  ['read', (domain) => domain.read()],
  ['captured', (domain) => domain.endLocalTask('done')],
  ['captured', (domain) => domain.endLocalTask('done')],
  ['capture failed', (domain) => domain.endLocalTask('failed')],
  ['never at rest', (domain) => domain.endLocalTask('again')],
  ['stored', (domain) => domain.endShareTask('done')],
  ['stored', (domain) => domain.endShareTask('done')],
  ['share failed', (domain) => domain.endShareTask('failed')],
  ['reply lost', (domain) => domain.endShareTask('lost')],
  ['retry', (domain) => domain.dispatch({ kind: 'retry' })],
  ['unsure', (domain) => domain.dispatch({ kind: 'unsure' })],
  ['swtpm gone', (domain) => domain.dispatch({ kind: 'tpm-gone' })],
];

const anyLife = fc.array(
  fc.constantFrom(...MOVES).map(([name, act]) => Object.assign(act, { [fc.toStringMethod]: () => name })),
  { minLength: 1, maxLength: 80, size: 'max' },
);

t.test('G5: the recovery point never passes a change that the share has not', async (t) => {
  let judged = 0;
  fc.assert(
    fc.property(anyLife, (life) => {
      const witness = new Witness();
      for (const move of life) {
        witness.act(move);
        const { domain, unstoredSinceMs } = witness;
        if (unstoredSinceMs === undefined) continue;
        judged += 1;
        const since = behindSince(witness.point);
        const said = `${String(since)} by ${behindBy(domain.state) ?? 'nothing'}, really ${unstoredSinceMs}`;
        if (since === undefined || since > unstoredSinceMs) throw new Error(said);
      }
    }),
    { numRuns: 3000 },
  );
  t.ok(judged > 2000, `${judged} states with something unstored`);
});

t.test('what is said to be stored is the head, and a point that stands has a reason', async () => {
  fc.assert(
    fc.property(anyLife, (life) => {
      const witness = new Witness();
      for (const move of life) {
        witness.act(move);
        const { state, head, disk, guestRuns } = witness.domain;
        const reason = behindBy(state);
        if ((reason === undefined) !== (behindSince(witness.point) === undefined)) {
          throw new Error(`${String(reason)}, and since ${String(behindSince(witness.point))}`);
        }
        if (reason !== undefined || !guestRuns) continue;
        if (head?.digest !== disk) throw new Error(`said to be stored: ${disk}, the head is ${head?.digest}`);
      }
    }),
    { numRuns: 3000 },
  );
});

/** Plays events one a millisecond, beginning tasks as the agent does. */
function play(events: readonly LifecycleEvent[]): { state: Lifecycle; point: RecoveryPoint } {
  let state = STOPPED;
  let point = NOTHING_BEHIND;
  const become = (next: Lifecycle, nowMs: number): void => {
    point = advancePoint(point, state, next, nowMs);
    state = next;
  };
  for (const [nowMs, event] of events.entries()) {
    become(step(state, event), nowMs);
    const { local, share } = nextTasks(state);
    for (const task of [local, share]) if (task) become(begin(state, task), nowMs);
  }
  return { state, point };
}

const HEAD = { slot: 2, digest: digestOf(1) };
const STARTED: readonly LifecycleEvent[] = [
  { kind: 'prepared', hold: { kind: 'held', epoch: 1, next: 3 }, published: HEAD, pending: undefined },
  { kind: 'started' },
  { kind: 'reading' },
  { kind: 'captured', digest: HEAD.digest },
];
const CHANGED: LifecycleEvent = { kind: 'changed' };
const READING: LifecycleEvent = { kind: 'reading' };
const FAILED: LifecycleEvent = { kind: 'capture-failed', again: false, missing: false };
const UNSTABLE: LifecycleEvent = { kind: 'capture-failed', again: true, missing: false };

function captured(content: number): LifecycleEvent {
  return { kind: 'captured', digest: digestOf(content) };
}

function published(slot: number, content: number): LifecycleEvent {
  return { kind: 'published', slot, digest: digestOf(content) };
}

t.test('since when the share is behind, and why', async (t) => {
  const cases: readonly [string, readonly LifecycleEvent[], number | undefined, string | undefined][] = [
    ['at rest', [], undefined, undefined],
    ['noticed', [CHANGED], 4, 'changed'],
    ['being read', [CHANGED, READING], 4, 'changed'],
    ['captured', [CHANGED, READING, captured(2)], 4, 'captured'],
    ['stored', [CHANGED, READING, captured(2), published(3, 2)], undefined, undefined],
    ['nothing new', [CHANGED, READING, captured(1)], undefined, undefined],
    ['cannot be read', [CHANGED, READING, FAILED], 4, 'unread'],
    ['cannot be read again', [CHANGED, READING, FAILED, CHANGED, READING, FAILED], 4, 'unread'],
    ['never at rest', [CHANGED, READING, UNSTABLE, READING, UNSTABLE, READING], 4, 'changed'],
    ['read at last', [CHANGED, READING, FAILED, CHANGED, READING, captured(2)], 4, 'captured'],
    [
      'constant writes: each publish takes with it what was noticed before its reading',
      [CHANGED, READING, CHANGED, captured(2), READING, CHANGED, captured(3), published(3, 2)],
      6,
      'captured',
    ],
    [
      'a publish that fails takes nothing with it',
      [CHANGED, READING, captured(2), { kind: 'share-failed', inDoubt: false }],
      4,
      'captured',
    ],
    [
      'a part of it cannot be read',
      [CHANGED, READING, { kind: 'captured', digest: digestOf(2), incomplete: true }, published(3, 2)],
      4,
      'part-unread',
    ],
    ['fenced', [{ kind: 'unsure' }, { kind: 'doubted' }, { kind: 'fenced', by: 'kvm-b' }], 5, 'fenced'],
    [
      'fenced with a change',
      [
        CHANGED,
        READING,
        captured(2),
        { kind: 'fenced', by: 'kvm-b' },
        { kind: 'diverged', digest: digestOf(2) },
      ],
      4,
      'fenced',
    ],
    [
      'another TPM',
      [
        CHANGED,
        READING,
        { kind: 'captured', digest: digestOf(2), foreign: true },
        { kind: 'diverged', digest: digestOf(2) },
      ],
      4,
      'foreign',
    ],
    ['in doubt', [{ kind: 'unsure' }, { kind: 'doubted' }], 5, 'in-doubt'],
  ];
  for (const [name, events, since, reason] of cases) {
    const { state, point } = play([...STARTED, ...events]);
    t.equal(behindSince(point), since, `${name}: since`);
    t.equal(behindBy(state), reason, `${name}: why`);
  }
});

t.test('a domain without a claim is behind, though its head is what was read', async (t) => {
  const { state, point } = play([
    { kind: 'prepared', hold: { kind: 'wanted', how: 'adopt' }, published: HEAD, pending: undefined },
    { kind: 'started' },
    READING,
    captured(1),
    { kind: 'share-failed', inDoubt: false },
  ]);
  t.equal(behindBy(state), 'unclaimed');
  t.equal(behindSince(point), 1);
});

t.test('changes are counted as they are captured, and one publish stands for all before it', async (t) => {
  const three = [CHANGED, READING, captured(2), CHANGED, READING, captured(3), CHANGED, READING, captured(4)];
  const { state, point } = play([...STARTED, ...three]);
  t.equal(point.changes, 3);
  t.equal(state.carrying, digestOf(2));
  t.equal(play([...STARTED, ...three, published(3, 2)]).point.changes, 2);
  t.equal(play([...STARTED, ...three, published(3, 2), published(4, 4)]).point.changes, 0);
});

t.test('G5: what a former run of the program left is behind since the head was stored', async (t) => {
  const left: Lifecycle = { ...STOPPED, run: 'running', hold: { kind: 'doubt', epoch: 1 }, dirty: true };
  t.equal(behindSince(recalledPoint(left, -5000)), -5000);
  const spooled: Lifecycle = { ...left, pending: { digest: digestOf(2), spooled: true } };
  t.match(recalledPoint(spooled, -5000), { captured: -5000, changes: 1 });
  t.equal(recalledPoint({ ...STOPPED }, -5000), NOTHING_BEHIND);
  t.ok(sameDigest(digestOf(1), HEAD.digest));
});
