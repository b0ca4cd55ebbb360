/**
 * The lifecycle under every order of events that a simulated share, guest and host can bring about, and its paths as scenarios. The
 * invariants I1 to I6 are checked at each step by the simulation itself.
 */
import fc from 'fast-check';
import t from 'tap';
import { sameDigest } from '../../../src/model/lifecycle-facts.js';
import { step } from '../../../src/model/lifecycle.js';
import { STOPPED, type Lifecycle } from '../../../src/model/lifecycle-state.js';
import { begin, nextTasks } from '../../../src/model/lifecycle-tasks.js';
import { digestOf, SimulatedDomain, type LocalFate, type ShareFate } from '../../fakes/simulated-domain.js';

type Move = (domain: SimulatedDomain) => void;

/** Above all that writes make by themselves. */
const REPEATED_CONTENTS = [9001, 9002];

function move(name: string, act: Move): Move {
  return Object.assign(act, { [fc.toStringMethod]: () => name });
}

function endLocal(fate: LocalFate): Move {
  return move(`local task ${fate}`, (domain) => domain.endLocalTask(fate));
}

function endShare(fate: ShareFate, compacts = false): Move {
  return move(`share task ${fate}`, (domain) => domain.endShareTask(fate, compacts));
}

function moves(weight: number, ...all: Move[]): { weight: number; arbitrary: fc.Arbitrary<Move> } {
  return { weight, arbitrary: fc.constantFrom(...all) };
}

const prepare = move('prepare', (domain) => domain.prepare());
const start = move('start', (domain) => domain.start());
const stop = move('stop', (domain) => domain.stop());
const retry = move('retry', (domain) => domain.dispatch({ kind: 'retry' }));
const write = move('write', (domain) => domain.write());

const anyMove = fc.oneof(
  moves(3, prepare, start, stop),
  moves(
    1,
    move('prepare, believing the head', (domain) => domain.prepareUnverified(domain.headInLog)),
    move('prepare, knowing nothing', (domain) => domain.prepareUnverified(undefined)),
    move('expect migration', (domain) => domain.expectMigration()),
    move('stop, handed over', (domain) => domain.stop(true)),
    move('stop overdue', (domain) => domain.dispatch({ kind: 'stop-overdue' })),
    move('another TPM', (domain) => domain.becomeAnother()),
    move('unsure', (domain) => domain.dispatch({ kind: 'unsure' })),
    move('late watcher event', (domain) => domain.dispatch({ kind: 'changed' })),
  ),
  moves(
    4,
    write,
    ...REPEATED_CONTENTS.map((content) => move(`write ${content}`, (domain) => domain.write(content))),
  ),
  moves(
    8,
    endLocal('done'),
    endLocal('done'),
    endLocal('failed'),
    endLocal('again'),
    move('read', (domain) => domain.read()),
  ),
  moves(
    10,
    endShare('done'),
    endShare('done'),
    endShare('done'),
    endShare('failed'),
    endShare('lost'),
    endShare('late'),
    endShare('done', true),
  ),
  moves(
    3,
    retry,
    move('arrive', (domain) => domain.arrive()),
  ),
  moves(
    1,
    move('others claim', (domain) => domain.othersClaim(false)),
    move('others publish', (domain) => domain.othersClaim(true)),
    move('others release', (domain) => domain.othersRelease()),
    move('forced back', (domain) => domain.forceBack()),
  ),
);
const anyLife = fc.array(anyMove, { minLength: 1, maxLength: 80, size: 'max' });

/** Room for a few rounds of capture, publish, recovery and release. */
const STEPS_TO_REST = 60;

/** Everything works from now on. */
function comeToRest(domain: SimulatedDomain): void {
  for (let round = 0; round < STEPS_TO_REST; round++) {
    domain.othersRelease();
    domain.dispatch({ kind: 'retry' });
    if (!domain.busy) return;
    domain.endLocalTask('done');
    domain.endShareTask('done');
  }
  throw new Error(`not at rest after ${STEPS_TO_REST} rounds: ${JSON.stringify(domain.state)}`);
}

t.test('G3, G5: whatever happens, in whatever order, each step keeps I1 to I6', async () => {
  fc.assert(
    fc.property(anyLife, (life) => {
      const domain = new SimulatedDomain();
      for (const act of life) act(domain);
    }),
    { numRuns: 4000 },
  );
});

t.test(
  'when failures cease, everything that was captured is stored and a stop comes to its end',
  async (t) => {
    const check = (life: Move[], stops: boolean): void => {
      const domain = new SimulatedDomain();
      for (const act of life) act(domain);
      if (stops) domain.stop();
      domain.dispatch({ kind: 'unsure' });
      comeToRest(domain);
      const { run, hold, pending, dirty, published } = domain.state;
      t.match({ pending, dirty }, { pending: undefined, dirty: false });
      if (run === 'running') {
        t.ok(hold.kind === 'held' || hold.kind === 'fenced', 'a running domain holds its volume or lost it');
        t.notOk(domain.isDeluded, 'G3: a host that was silent knows whether it holds its volume');
        const stored =
          domain.captureFailed ||
          hold.kind === 'fenced' ||
          domain.diverged.has(domain.disk) ||
          (published !== undefined && sameDigest(published.digest, domain.disk));
        t.ok(stored, 'what is on disk is the head');
      }
      const { reading } = domain.state;
      const isUnread =
        reading.kind === 'failed' && (hold.kind === 'held' || (hold.kind === 'fenced' && !reading.isMissing));
      if (stops && isUnread) {
        t.equal(run, 'finishing', 'what nobody could read is not given up');
      } else if (stops) {
        t.equal(run, 'stopped');
        t.ok(hold.kind === 'none' || hold.kind === 'fenced');
        if (!domain.wasForcedBack) t.not(domain.holder, 'us', 'what was claimed is released');
      }
    };
    fc.assert(fc.property(anyLife, fc.boolean(), check), { numRuns: 1500 });
  },
);

t.test('G5: a share that hangs never holds up a stop: the final state is in the spool', async (t) => {
  const check = (life: Move[]): void => {
    const domain = new SimulatedDomain();
    for (const act of life) act(domain);
    domain.stop();
    domain.dispatch({ kind: 'stop-overdue' });
    for (let round = 0; round < STEPS_TO_REST && domain.localTask; round++) domain.endLocalTask('done');
    const { local, pending, dirty, spoolFailed } = domain.state;
    t.match({ local, dirty }, { local: 'idle', dirty: false });
    t.ok(pending === undefined || pending.spooled || spoolFailed);
    if (pending?.spooled) t.equal(domain.spool, pending.digest);
  };
  fc.assert(fc.property(anyLife, check), { numRuns: 1000 });
});

t.test('I5: a domain that never ran here captures nothing, however its watcher is woken', async (t) => {
  const withoutStart = anyLife.map((life) => life.filter((act) => act !== start));
  const check = (life: Move[]): void => {
    const domain = new SimulatedDomain();
    for (const act of life) act(domain);
    t.notOk(domain.began.some((task) => task.kind === 'capture'));
  };
  fc.assert(fc.property(withoutStart, check), { numRuns: 300 });
});

/** A domain that was prepared and started, and whose first state is published. */
function running(): SimulatedDomain {
  const domain = new SimulatedDomain();
  domain.prepare();
  domain.start();
  domain.endLocalTask('done');
  domain.endShareTask('done');
  domain.endShareTask('done');
  return domain;
}

/** Kinds of the tasks begun since the given number of them. */
function begunSince(domain: SimulatedDomain, count: number): string[] {
  return domain.began.slice(count).map((task) => task.kind);
}

t.test('start: captured at once, published, tidied once', async (t) => {
  const domain = running();
  t.strictSame(begunSince(domain, 0), ['capture', 'publish', 'tidy']);
  t.match(domain.state, { run: 'running', hold: { kind: 'held' }, published: { digest: domain.disk } });
});

t.test('start: a restored head that the guest did not change is not published again', async (t) => {
  const domain = running();
  domain.stop();
  comeToRest(domain);
  const { length } = domain.began;
  domain.prepare();
  domain.start();
  domain.endLocalTask('done');
  t.strictSame(begunSince(domain, length), ['capture']);
});

t.test(
  'change: one write while the share is busy is captured beside it, and the newest one is published next',
  async (t) => {
    const domain = running();
    domain.write();
    domain.endLocalTask('done');
    const first = domain.disk;
    domain.write();
    domain.endLocalTask('done');
    domain.write();
    domain.endLocalTask('done');
    t.equal(domain.state.carrying, first);
    domain.endShareTask('done');
    t.equal(domain.state.carrying, domain.disk, 'what lies between is skipped');
    domain.endShareTask('done');
    t.equal(domain.head?.digest, domain.disk);
  },
);

t.test('change: a write after the capture has read wants another capture', async (t) => {
  const domain = running();
  domain.write();
  domain.read();
  domain.write();
  domain.endLocalTask('done');
  t.equal(domain.localTask?.kind, 'capture');
});

t.test('stop: final capture, publish, release; the release is the last thing in the epoch', async (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  domain.endShareTask('done');
  const { length } = domain.began;
  domain.write();
  domain.stop();
  domain.endLocalTask('done');
  domain.endLocalTask('done');
  domain.endShareTask('done');
  domain.endShareTask('done');
  t.strictSame(begunSince(domain, length).slice(-2), ['publish', 'release']);
  t.match(domain.state, { run: 'stopped', hold: { kind: 'none' } });
  t.equal(domain.slots.at(-1)?.kind, 'release');
  t.equal(domain.head?.digest, domain.disk);
});

t.test('G5: stop while the share is away: spooled, held, and published when it is back', async (t) => {
  const domain = running();
  domain.write();
  domain.stop();
  domain.endLocalTask('done');
  domain.endLocalTask('done');
  domain.endShareTask('failed');
  t.equal(domain.localTask?.kind, 'spool');
  domain.endLocalTask('done');
  t.equal(domain.spool, domain.disk);
  t.match(domain.state, { run: 'finishing', hold: { kind: 'held' }, pending: { spooled: true } });
  comeToRest(domain);
  t.equal(domain.head?.digest, domain.disk);
  t.match(domain.state, { run: 'stopped', hold: { kind: 'none' } });
});

t.test('G5: a spool that is full is tried again, and the share may still take the state', async (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  domain.endShareTask('failed');
  domain.endLocalTask('failed');
  t.equal(domain.localTask, undefined, 'not at once');
  domain.dispatch({ kind: 'retry' });
  t.equal(domain.localTask?.kind, 'spool');
  domain.endShareTask('done');
  domain.endLocalTask('failed');
  t.match(domain.state, { pending: undefined, published: { digest: domain.disk } });
});

t.test('a failed start: nothing is captured, the claim is released', async (t) => {
  const domain = new SimulatedDomain();
  domain.prepare();
  domain.stop();
  domain.dispatch({ kind: 'changed' });
  domain.endShareTask('done');
  t.strictSame(begunSince(domain, 0), ['release']);
  t.equal(domain.state.run, 'stopped');
});

t.test(
  'G3: fenced in the middle of a run: nothing more is published or released, and what comes is diverged',
  async (t) => {
    const domain = running();
    domain.othersClaim(true);
    const { length } = domain.began;
    domain.write();
    domain.endLocalTask('done');
    const lost = domain.disk;
    domain.endShareTask('done');
    t.match(domain.state.hold, { kind: 'fenced', by: 'them' });
    domain.endShareTask('done');
    t.ok(domain.diverged.has(lost));
    domain.write();
    domain.stop();
    comeToRest(domain);
    t.ok(domain.diverged.has(domain.disk));
    t.notMatch(begunSince(domain, length + 2), ['publish']);
    t.notOk(begunSince(domain, length + 2).includes('release'));
    t.match(domain.state, { run: 'stopped', hold: { kind: 'fenced' } });
  },
);

t.test('a publish in doubt that took place: the claim finds it, and it is not published twice', async (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  domain.endShareTask('lost');
  t.equal(domain.state.hold.kind, 'doubt');
  comeToRest(domain);
  t.equal(domain.slots.filter((slot) => slot.digest === domain.disk).length, 1);
  t.match(domain.state.hold, { kind: 'held' });
});

t.test(
  'G4: a publish in doubt that did not take place never can after the claim, and is made again',
  async (t) => {
    const domain = running();
    domain.write();
    domain.endLocalTask('done');
    domain.endShareTask('late');
    domain.dispatch({ kind: 'retry' });
    t.match(domain.shareTask, { kind: 'acquire', how: 'recover' });
    domain.endShareTask('done');
    domain.arrive();
    comeToRest(domain);
    t.equal(domain.head?.digest, domain.disk);
  },
);

t.test(
  'G4: a state that went back to the head while another was in doubt is still the one that ends as head',
  async (t) => {
    const domain = running();
    domain.write(9001);
    domain.endLocalTask('done');
    domain.endShareTask('done');
    domain.write(9002);
    domain.endLocalTask('done');
    domain.endShareTask('lost');
    domain.endLocalTask('done');
    domain.write(9001);
    comeToRest(domain);
    t.equal(domain.head?.digest, digestOf(9001));
  },
);

t.test('a release in doubt that took place ends the stop', async (t) => {
  const domain = running();
  domain.stop();
  domain.endLocalTask('done');
  t.equal(domain.shareTask?.kind, 'release');
  domain.endShareTask('lost');
  comeToRest(domain);
  t.match(domain.state, { run: 'stopped', hold: { kind: 'none' } });
  t.equal(domain.slots.filter((slot) => slot.kind === 'release').length, 1);
});

t.test('a claim in doubt that took place is released by a stop that has nothing to publish', async (t) => {
  const domain = running();
  domain.stop();
  comeToRest(domain);
  domain.prepareUnverified(domain.headInLog);
  domain.start();
  domain.endLocalTask('done');
  domain.endShareTask('lost');
  t.equal(domain.holder, 'us');
  domain.stop();
  domain.endLocalTask('done');
  comeToRest(domain);
  t.equal(domain.state.run, 'stopped');
  t.equal(domain.holder, undefined);
});

t.test('a domain that comes back while its release is under way gets its volume back', async (t) => {
  const domain = running();
  domain.stop();
  domain.endLocalTask('done');
  t.equal(domain.shareTask?.kind, 'release');
  domain.start();
  domain.write();
  comeToRest(domain);
  t.match(domain.state, { run: 'running', hold: { kind: 'held' } });
  t.equal(domain.head?.digest, domain.disk);
});

t.test('a change that is seen while the release is under way is not left behind', async (t) => {
  const domain = running();
  domain.stop();
  domain.endLocalTask('done');
  domain.disk = digestOf(9003);
  domain.dispatch({ kind: 'changed' });
  domain.endShareTask('done');
  comeToRest(domain);
  t.equal(domain.head?.digest, digestOf(9003));
  t.equal(domain.state.run, 'stopped');
});

t.test('a fenced stop ends also when the spool is the last to answer', async (t) => {
  const domain = running();
  domain.othersClaim(false);
  domain.write();
  domain.stop();
  domain.endLocalTask('done');
  domain.endLocalTask('done');
  domain.endShareTask('done');
  domain.dispatch({ kind: 'stop-overdue' });
  t.strictSame([domain.localTask?.kind, domain.shareTask?.kind], ['spool', 'diverge']);
  domain.endShareTask('done');
  domain.endLocalTask('done');
  t.equal(domain.state.run, 'stopped');
});

t.test(
  'migration, destination: owns nothing until it is confirmed running, and waits for the source to release',
  async (t) => {
    const domain = new SimulatedDomain();
    domain.othersClaim(true);
    domain.expectMigration();
    domain.dispatch({ kind: 'changed' });
    t.strictSame(domain.began, []);
    domain.start();
    t.match(domain.shareTask, { kind: 'acquire', how: 'migration' });
    domain.endLocalTask('done');
    domain.endShareTask('done');
    t.match(
      domain.state,
      { hold: { kind: 'wanted' }, pending: { digest: domain.disk } },
      'still held by the source',
    );
    comeToRest(domain);
    t.match(domain.state, { hold: { kind: 'held' }, published: { digest: domain.disk } });
  },
);

t.test('migration that failed, destination: nothing is captured or claimed', async (t) => {
  const domain = new SimulatedDomain();
  domain.othersClaim(true);
  domain.expectMigration();
  domain.stop();
  t.strictSame(domain.began, []);
  t.match(domain.state, { run: 'stopped', hold: { kind: 'none' } });
});

t.test('migration, source: publishes nothing more and releases', async (t) => {
  const domain = running();
  const { length } = domain.began;
  domain.stop(true);
  domain.dispatch({ kind: 'changed' });
  comeToRest(domain);
  t.strictSame(begunSince(domain, length), ['release']);
  t.equal(domain.state.run, 'stopped');
});

t.test('G4: migration, source: what was being read when the stop was told is not published', async (t) => {
  const domain = running();
  domain.write();
  domain.read();
  const { length } = domain.began;
  domain.stop(true);
  comeToRest(domain);
  t.strictSame(begunSince(domain, length), ['release']);
  t.equal(domain.state.run, 'stopped');
});

t.test('a domain found running without a prepare is adopted', async (t) => {
  const domain = new SimulatedDomain();
  domain.start();
  t.match(domain.shareTask, { kind: 'acquire', how: 'adopt' });
  comeToRest(domain);
  t.equal(domain.head?.digest, domain.disk);
});

t.test(
  'G5: what was spooled before a start without the share is published when it is back, though the start failed',
  async (t) => {
    const domain = new SimulatedDomain();
    domain.spool = digestOf(9004);
    domain.prepareUnverified(undefined);
    domain.stop();
    comeToRest(domain);
    t.equal(domain.head?.digest, digestOf(9004));
    t.match(domain.state, { run: 'stopped', hold: { kind: 'none' } });
  },
);

t.test('a head that is another than was believed is compared with the state again', async (t) => {
  const domain = running();
  domain.stop();
  comeToRest(domain);
  domain.prepareUnverified(domain.headInLog);
  domain.othersClaim(true);
  domain.othersRelease();
  domain.start();
  domain.endLocalTask('done');
  t.equal(domain.state.pending, undefined, 'as far as this host knows, the share has it');
  comeToRest(domain);
  t.equal(domain.head?.digest, domain.disk);
});

t.test('a failed task waits for its retry', async (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  domain.endShareTask('failed');
  t.equal(domain.shareTask, undefined);
  domain.write();
  t.equal(domain.shareTask, undefined, 'a change does not cut the wait short');
  domain.dispatch({ kind: 'retry' });
  t.equal(domain.shareTask?.kind, 'publish');
});

t.test('tidying comes back every sixteen publishes', async (t) => {
  const domain = running();
  const { length } = domain.began;
  for (let round = 0; round < 40; round++) {
    domain.write();
    domain.endLocalTask('done');
    domain.endShareTask('done');
    if (domain.shareTask) domain.endShareTask('done');
  }
  t.equal(begunSince(domain, length).filter((kind) => kind === 'tidy').length, 2);
});

t.test('events of another state change nothing', async (t) => {
  t.equal(step(STOPPED, { kind: 'changed' }), STOPPED);
  t.equal(step(STOPPED, { kind: 'stop-overdue' }), STOPPED);
  t.equal(step(STOPPED, { kind: 'stopped', reason: '', handedOver: false }), STOPPED);
  const { state } = running();
  t.equal(step(state, { kind: 'started' }), state);
  t.strictSame(nextTasks(STOPPED), { local: undefined, share: undefined });
});

t.test(
  'two digests name one content also where one is only the part that a name in the log carries',
  async (t) => {
    t.ok(sameDigest(digestOf(1), digestOf(1).slice(0, 16)));
    t.ok(sameDigest(digestOf(1).slice(0, 16), digestOf(1)));
    t.notOk(sameDigest(digestOf(1), digestOf(2)));
  },
);

t.test('G8: a final state that cannot be read keeps the volume held, until it can', async (t) => {
  const running = step(
    step(STOPPED, {
      kind: 'prepared',
      hold: { kind: 'held', epoch: 1, next: 2 },
      published: undefined,
      pending: undefined,
    }),
    { kind: 'started' },
  );
  const afterStop = (state: Lifecycle, missing: boolean): Lifecycle => {
    const stopping = step(state, { kind: 'stopped', reason: '', handedOver: false });
    const reading = step(begin(stopping, { kind: 'capture', final: true }), { kind: 'reading' });
    return step(reading, { kind: 'capture-failed', again: false, missing });
  };
  const stored: Lifecycle = { ...running, published: { slot: 2, digest: 'aa' } };
  t.equal(
    nextTasks(afterStop(running, true)).share,
    undefined,
    'nothing was ever stored, and nothing is there',
  );
  t.equal(
    nextTasks(afterStop(running, false)).share,
    undefined,
    'nothing was ever stored, and what is there cannot be read',
  );
  t.equal(nextTasks(afterStop(stored, false)).share, undefined, 'something newer than the head may be there');
  t.equal(
    nextTasks(afterStop(stored, true)).share?.kind,
    'release',
    'the directory is gone, and the head is what was captured last',
  );
  const again = step(step(afterStop(stored, false), { kind: 'changed' }), { kind: 'captured', digest: 'bb' });
  t.equal(nextTasks(again).share?.kind, 'publish');
});

t.test(
  'G4: a spooled capture that was published before, and followed by others, is not published over them',
  async (t) => {
    const recalled: Lifecycle = {
      ...STOPPED,
      run: 'finishing',
      hold: { kind: 'doubt', epoch: 1 },
      pending: { digest: 'aa'.repeat(32), spooled: true },
    };
    const published = { slot: 4, digest: 'bb'.repeat(8) };
    const acquired = step(recalled, {
      kind: 'acquired',
      epoch: 5,
      published,
      history: ['aa'.repeat(8), 'bb'.repeat(8)],
      outdated: [],
    });
    t.equal(acquired.pending, undefined);
  },
);

t.test(
  'G5: what was judged to be from before the head does not drop the newer state that waits',
  async (t) => {
    const [old, newer] = ['aa'.repeat(32), 'bb'.repeat(32)];
    const finishing: Lifecycle = {
      ...STOPPED,
      run: 'finishing',
      hold: { kind: 'held', epoch: 3, next: 4 },
      published: { slot: 2, digest: 'cc'.repeat(32) },
      pending: { digest: newer, spooled: true },
      outdated: [old],
    };
    const reading = step(begin(finishing, { kind: 'capture', final: true }), { kind: 'reading' });
    const seen = step(reading, { kind: 'captured', digest: old });
    t.match(seen.pending, { digest: newer, spooled: true });
    t.match(nextTasks(seen).share, { kind: 'publish' });
  },
);

t.test('G8: another TPM in the place of one that was never stored does not free the volume', (t) => {
  const domain = new SimulatedDomain();
  domain.prepare();
  domain.start();
  domain.becomeAnother();
  domain.stop();
  comeToRest(domain);
  t.ok(domain.diverged.has(domain.disk), 'what lies on the disk is kept');
  t.equal(domain.holder, 'us', 'another host would start with a blank TPM');
  t.match(domain.state, { run: 'finishing', reading: { kind: 'failed' } });
  t.end();
});

t.test('G3: a volume that was forced back is given back when the fenced domain has stopped', (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  const lost = domain.disk;
  domain.endShareTask('late');
  domain.othersClaim(true);
  domain.forceBack();
  comeToRest(domain);
  t.match(domain.state.hold, { kind: 'fenced', by: 'them', claimed: 'stands' });
  t.ok(domain.diverged.has(lost));
  const { head } = domain;
  domain.stop();
  comeToRest(domain);
  t.strictSame(domain.head, head, 'the other host has published the head');
  t.equal(domain.holder, undefined);
  t.equal(domain.state.run, 'stopped');
  t.end();
});

t.test('G3: a host that was silent looks whether its claim stands, and learns that it does not', (t) => {
  const domain = running();
  comeToRest(domain);
  const { slots } = domain;
  domain.dispatch({ kind: 'unsure' });
  t.match(domain.shareTask, { kind: 'confirm' });
  domain.endShareTask('failed');
  t.notOk(domain.busy, 'it waits for its retry');
  domain.dispatch({ kind: 'retry' });
  domain.endShareTask('done');
  t.match(domain.state, { hold: { kind: 'held' }, unconfirmed: false, trouble: false });
  t.notOk(domain.busy);
  t.equal(slots.length, domain.slots.length, 'a look writes nothing');

  domain.dispatch({ kind: 'unsure' });
  domain.dispatch({ kind: 'unsure' });
  domain.endShareTask('done');
  t.match(domain.shareTask, { kind: 'confirm' }, 'silent once more while it looked: it looks again');
  domain.othersClaim(false);
  comeToRest(domain);
  t.match(domain.state.hold, { kind: 'fenced', by: 'them' });
  t.equal(domain.began.filter(({ kind }) => kind === 'publish').length, 1, 'with nothing to publish');
  t.end();
});

t.test('a stop does not wait for what a look would find', (t) => {
  const domain = running();
  comeToRest(domain);
  domain.dispatch({ kind: 'unsure' });
  domain.endShareTask('failed');
  domain.stop();
  domain.dispatch({ kind: 'retry' });
  domain.endLocalTask('done');
  t.match(domain.shareTask, { kind: 'release' });
  t.end();
});

t.test('a claim in doubt is told apart from another commit in doubt', (t) => {
  const domain = running();
  domain.write();
  domain.endLocalTask('done');
  domain.endShareTask('late');
  t.match(domain.state.hold, { kind: 'doubt', claiming: undefined });
  domain.dispatch({ kind: 'retry' });
  domain.endShareTask('late');
  t.match(domain.state.hold, { kind: 'doubt', claiming: true });
  comeToRest(domain);
  t.match(domain.state.hold, { kind: 'held' });
  t.end();
});

t.test('I6: another TPM is kept as a diverged copy, and the volume is released with its own head', (t) => {
  const domain = new SimulatedDomain();
  domain.prepare();
  domain.start();
  domain.write();
  comeToRest(domain);
  const { head } = domain;
  domain.becomeAnother();
  domain.stop();
  comeToRest(domain);
  t.ok(domain.diverged.has(domain.disk), 'what lies on the disk is kept');
  t.strictSame(domain.head, head);
  t.equal(domain.holder, undefined, 'the volume is free');
  t.equal(domain.state.run, 'stopped');
  t.end();
});

t.test(
  'G4: a claim that only settles what was in doubt has nothing captured for it, and is given back',
  (t) => {
    const over: Lifecycle = {
      ...STOPPED,
      run: 'finishing',
      hold: { kind: 'doubt', epoch: 1, claiming: true },
      published: { slot: 3, digest: digestOf(3) },
      reading: { kind: 'taken', digest: digestOf(3) },
    };
    const published = { slot: 5, digest: digestOf(5) };
    const settled = step(over, { kind: 'acquired', epoch: 7, published, history: [], onlySettles: true });
    t.match(nextTasks(settled), { local: undefined, share: { kind: 'release', epoch: 7 } });
    t.end();
  },
);

t.test(
  'a claim in doubt where another host holds the volume is looked after until something takes its slot',
  (t) => {
    const over: Lifecycle = {
      ...STOPPED,
      run: 'finishing',
      hold: { kind: 'doubt', epoch: 0, claiming: true },
    };
    t.match(
      nextTasks(over).share,
      { how: 'recover', claiming: true, logTop: undefined },
      'nobody has looked yet',
    );
    const looked = afterShareTask(over, { kind: 'share-failed', inDoubt: true, logTop: 5 });
    t.match(looked, { run: 'finishing', hold: { claiming: true, logTop: 5 } });
    t.match(nextTasks(looked).share, { logTop: 5 }, 'the next look knows where the log ended');
    const claimedAgain = afterShareTask(looked, { kind: 'share-failed', inDoubt: true });
    t.equal(
      claimedAgain.hold.kind === 'doubt' && claimedAgain.hold.logTop,
      undefined,
      'another doubt begins anew',
    );
    t.match(afterShareTask(looked, { kind: 'released' }), { run: 'stopped', hold: { kind: 'none' } });
    t.end();
  },
);

t.test('so is one of a host that was fenced meanwhile, when its domain has stopped', (t) => {
  const running: Lifecycle = {
    ...STOPPED,
    run: 'running',
    hold: { kind: 'wanted', how: 'adopt', inDoubt: true },
  };
  const fenced = afterShareTask(running, { kind: 'fenced', by: 'kvm-b' });
  t.match(fenced.hold, { kind: 'fenced', claimed: 'in-doubt' });
  t.equal(nextTasks(fenced).share, undefined, 'not while it runs');
  const over = step(fenced, { kind: 'stopped', reason: 'migrated', handedOver: true });
  t.match(nextTasks(over).share, { kind: 'give-back', inDoubt: true });
  t.match(afterShareTask(over, { kind: 'released' }), { run: 'stopped', hold: { kind: 'fenced' } });
  t.end();
});

t.test('a stop of a fenced domain looks for a claim that was made for its host by hand', (t) => {
  const fenced: Lifecycle = { ...STOPPED, run: 'running', hold: { kind: 'fenced', epoch: 3, by: 'kvm-b' } };
  const over = step(fenced, { kind: 'stopped', reason: 'migrated', handedOver: true });
  t.match(nextTasks(over).share, { kind: 'give-back', inDoubt: false });
  t.end();
});

t.test(
  'an adoption that may have claimed, and has nothing left to publish, is settled like a claim in doubt',
  (t) => {
    const running: Lifecycle = {
      ...STOPPED,
      run: 'running',
      hold: { kind: 'wanted', how: 'adopt', inDoubt: true },
    };
    const over = step(running, { kind: 'stopped', reason: 'migrated', handedOver: true });
    t.match(nextTasks(over).share, { how: 'recover', claiming: true });
    t.end();
  },
);

t.test('a stop while the first claim is in doubt, after another host has had the domain', (t) => {
  const domain = new SimulatedDomain();
  domain.prepare();
  domain.stop();
  domain.endShareTask('done');
  domain.othersClaim(true);
  domain.othersRelease();
  domain.start();
  domain.endShareTask('lost');
  domain.stop();
  comeToRest(domain);
  t.equal(domain.state.run, 'stopped');
  t.not(domain.holder, 'us', 'what was claimed is released');
  t.end();
});

t.test('a migration that comes while a claim is in doubt does not make anybody forget that', (t) => {
  const looked: Lifecycle = {
    ...STOPPED,
    run: 'finishing',
    hold: { kind: 'doubt', epoch: 0, claiming: true, logTop: 5 },
  };
  const incoming = step(looked, { kind: 'incoming' });
  t.equal(nextTasks(incoming).share, undefined, 'it waits for its source');
  const failed = step(incoming, { kind: 'stopped', reason: 'never-ran', handedOver: false });
  t.match(nextTasks(failed).share, { how: 'recover', claiming: true });
  t.match(nextTasks(step(incoming, { kind: 'started' })).share, { how: 'migration' });
  t.end();
});

function afterShareTask(state: Lifecycle, event: Parameters<typeof step>[1]): Lifecycle {
  const { share } = nextTasks(state);
  return { ...step(share ? begin(state, share) : state, event), backoff: false };
}
