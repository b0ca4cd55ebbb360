import fc from 'fast-check';
import t from 'tap';
import type { FakeStorageProcesses } from '../../fakes/fake-storage-processes.js';
import {
  DEADLINE_MS,
  type Outcome,
  outcomeOf,
  OVERRUN_MS,
  servingRig,
  settled,
  STARTUP_MS,
  storageClientRig,
} from '../../fakes/storage-client-rig.js';
import { claimCall, inspectCall, publishCall, uuidOf } from '../../fixtures/share-calls.js';

t.test(
  'G2: a commit without an answer has an unknown outcome; anything else may be tried again',
  async (t) => {
    const { client, clock, processes } = await servingRig({ inFlightMax: 20 });
    const capture = publishCall('a', 1, 2);
    const end = { epoch: 1, slot: 2, reason: 'stop', kind: 'release' } as const;
    const commits = [
      outcomeOf(client.publish(capture)),
      outcomeOf(client.claim(claimCall('b'))),
      outcomeOf(client.closeEpoch({ uuid: uuidOf('c'), ...end })),
    ];
    const others = [
      outcomeOf(client.identify({})),
      outcomeOf(client.beat({ shareId: undefined })),
      outcomeOf(client.inspect(inspectCall('d'))),
      outcomeOf(client.fetch({ uuid: uuidOf('e'), slot: 'head', fallBack: false })),
      outcomeOf(client.diverge({ ...publishCall('f', 1, 2) })),
    ];
    await clock.advance(OVERRUN_MS);
    t.same(
      commits.map(({ state }) => state),
      commits.map(() => 'OUTCOME_UNKNOWN'),
    );
    t.same(
      others.map(({ state }) => state),
      others.map(() => 'SHARE_TIMEOUT'),
    );
    t.equal(
      commits[0]?.error?.message,
      `publish of ${uuidOf('a')} had no answer from the share within 5000 ms, and may still take place`,
    );
    t.match(others[0]?.error?.next, /nfsstat -m/);
    t.ok(processes.latest.isKilled);
  },
);

t.test('the killed process is not waited for: waiting requests move to a new one at once', async (t) => {
  const { client, clock, processes } = await servingRig();
  const [hung] = processes.all;
  outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(OVERRUN_MS - 1_000);
  const claim = outcomeOf(client.claim(claimCall('a')));
  await clock.advance(1_000);
  t.ok(hung?.isKilled);
  t.equal(processes.all.length, 2, 'the first has not exited');
  processes.latest.ready();
  t.same(processes.latest.received, ['claim a']);
  processes.latest.answer('claimed');
  await settled();
  t.equal(claim.state, 'ok');
});

t.test(
  'a stalled process is drained: other volumes finish in good order, new work goes to another process',
  async (t) => {
    const { client, clock, processes } = await servingRig();
    const [first] = processes.all;
    const sick = outcomeOf(client.publish(publishCall('a', 1, 2)));
    await clock.advance(DEADLINE_MS - 1_000);
    const healthy = outcomeOf(client.publish(publishCall('b', 1, 2)));
    await clock.advance(1_100);
    t.equal(sick.state, 'OUTCOME_UNKNOWN');
    t.notOk(first?.isKilled, 'somebody still waits for it');

    const claim = outcomeOf(client.claim(claimCall('a')));
    const fresh = outcomeOf(client.inspect(inspectCall('c')));
    processes.latest.ready();
    t.same(processes.latest.received, ['inspect c'], 'two processes never work through one volume');

    first?.answer('committed', 'publish b');
    await settled();
    t.equal(healthy.state, 'ok');
    t.ok(first?.isKilled, 'nobody waits for it any more');
    t.same(processes.latest.received, ['inspect c', 'claim a']);
    processes.latest.answer('inspected');
    processes.latest.answer('claimed');
    await settled();
    t.same([claim.state, fresh.state], ['ok', 'ok']);
  },
);

t.test('a draining process is killed after one share deadline, whatever it still does', async (t) => {
  const { client, clock, processes } = await servingRig();
  const [first] = processes.all;
  outcomeOf(client.inspect(inspectCall('a')));
  const long = outcomeOf(client.verify({ uuid: uuidOf('b') }));
  await clock.advance(OVERRUN_MS);
  t.notOk(first?.isKilled);
  await clock.advance(OVERRUN_MS);
  t.ok(first?.isKilled);
  t.match(long.error, { code: 'SHARE_TIMEOUT', message: /was cut off/ });
  t.equal(clock.pending, 0, 'no timer outlives the process');
});

t.test(
  'stuck processes are capped: then requests fail at once, and a place is free when one is gone',
  async (t) => {
    const { client, clock, processes } = await servingRig({ processesMax: 2, backOffFirstMs: 0 });
    for (const letter of 'ab') {
      outcomeOf(client.inspect(inspectCall(letter)));
      if (letter === 'b') processes.latest.ready();
      await clock.advance(OVERRUN_MS);
    }
    t.same(
      processes.all.map(({ isKilled }) => isKilled),
      [true, true],
    );
    t.match(client.gauges(), { processes: 2, stuck: 2 });

    const refused = outcomeOf(client.publish(publishCall('c', 1, 2)));
    const beat = outcomeOf(client.beat({ shareId: undefined }));
    await settled();
    t.match(refused.error, {
      code: 'SHARE_UNAVAILABLE',
      retriable: true,
      message: `publish of ${uuidOf('c')} was not begun: 2 of at most 2 storage processes are stuck in the share`,
    });
    t.equal(beat.state, 'SHARE_UNAVAILABLE');
    t.equal(processes.all.length, 2);

    processes.all[0]?.exit('SIGKILL');
    const served = outcomeOf(client.inspect(inspectCall('c')));
    t.equal(processes.all.length, 3);
    processes.latest.ready();
    processes.latest.answer('inspected');
    await settled();
    t.equal(served.state, 'ok');
  },
);

t.test('one sick volume cannot take the last place', async (t) => {
  const { client, clock, processes } = await servingRig({ processesMax: 2 });
  outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(OVERRUN_MS);
  const healthy = outcomeOf(client.inspect(inspectCall('b')));
  processes.latest.ready();
  processes.latest.answer('inspected');
  const sick = outcomeOf(client.claim(claimCall('a')));
  await settled();
  t.equal(healthy.state, 'ok');
  t.match(sick.error, { code: 'SHARE_UNAVAILABLE', message: /1 of at most 2 storage processes are stuck/ });
  t.same(processes.latest.unanswered, []);

  processes.all[0]?.exit('SIGKILL');
  const later = outcomeOf(client.claim(claimCall('a')));
  processes.latest.answer('claimed');
  await settled();
  t.equal(later.state, 'ok', 'its process is gone, so it is served again');
});

/** What arrives, and how long after the one before, seconds. */
const arrivals = fc.array(
  fc.record({ what: fc.constantFrom('sick', 'beat', 'healthy'), afterS: fc.integer({ min: 0, max: 9 }) }),
  { minLength: 20, maxLength: 60 },
);

t.test(
  'I4: a volume that hangs at each of its calls fails nobody else, whenever and between what it is asked for',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 6 }), arrivals, async (processesMax, order) => {
        const { client, clock, processes } = await servingRig({ processesMax, backOffFirstMs: 0 });
        const others: Outcome[] = [];
        for (const { what, afterS } of order) {
          for (let second = 0; second < afterS; second++) {
            await clock.advance(1_000);
            await answerAllBut(processes, 'inspect a');
          }
          if (what === 'sick') outcomeOf(client.inspect(inspectCall('a')));
          if (what === 'beat') others.push(outcomeOf(client.beat({ shareId: undefined })));
          if (what === 'healthy') others.push(outcomeOf(client.publish(publishCall('b', 1, 2))));
          await answerAllBut(processes, 'inspect a');
        }
        t.same(
          others.map(({ error }) => error?.message).filter((message) => message !== undefined),
          [],
          `${processesMax} places`,
        );
      }),
      { numRuns: 100 },
    );
  },
);

async function answerAllBut(processes: FakeStorageProcesses, hanging: string): Promise<void> {
  for (const process of processes.all.filter(({ isKilled }) => !isKilled)) {
    process.ready();
    await settled();
    const labels = process.unanswered.filter((label) => label !== hanging);
    for (const label of labels) process.answer('answered', label);
  }
  await settled();
}

t.test('I4: listings that hang leave the last place to volumes and to the heartbeat', async (t) => {
  const { client, clock, processes } = await servingRig({ processesMax: 3, backOffFirstMs: 0 });
  for (let call = 0; call < 6; call++) {
    const listing = outcomeOf(client.list({}));
    if (processes.latest.isKilled) break;
    processes.latest.ready();
    await clock.advance(OVERRUN_MS);
    t.not(listing.state, 'waiting');
  }
  t.ok(client.gauges().stuck < 3);
  const beat = outcomeOf(client.beat({ shareId: undefined }));
  const publish = outcomeOf(client.publish(publishCall('b', 1, 2)));
  processes.latest.ready();
  processes.latest.answer('beaten', 'beat');
  processes.latest.answer('committed', 'publish b');
  await settled();
  t.same([beat.state, publish.state], ['ok', 'ok']);
});

t.test('the first heartbeat that succeeds ends the back-off, even one of a draining process', async (t) => {
  const { client, clock, processes } = await servingRig({ backOffFirstMs: 60_000, backOffMaxMs: 60_000 });
  outcomeOf(client.inspect(inspectCall('a')));
  await clock.advance(OVERRUN_MS);
  outcomeOf(client.inspect(inspectCall('b')));
  processes.latest.ready();
  await clock.advance(DEADLINE_MS - 1_000);
  const beat = outcomeOf(client.beat({ shareId: undefined }));
  await clock.advance(1_100);
  const early = outcomeOf(client.inspect(inspectCall('c')));
  await settled();
  t.match(early.error?.message, /the next one starts in/, 'two failures in a row');
  processes.latest.answer('beaten', 'beat');
  await settled();
  t.equal(beat.state, 'ok');
  const next = outcomeOf(client.inspect(inspectCall('c')));
  processes.latest.ready();
  processes.latest.answer('inspected');
  await settled();
  t.equal(next.state, 'ok');
});

t.test(
  'a sick volume loses its waiting requests when its process gets stuck in the last place but one',
  async (t) => {
    const { client, clock, processes } = await servingRig({ processesMax: 2 });
    outcomeOf(client.publish(publishCall('a', 1, 2)));
    await clock.advance(DEADLINE_MS - 1_000);
    const other = outcomeOf(client.inspect(inspectCall('b')));
    const waiting = outcomeOf(client.claim(claimCall('a')));
    await clock.advance(1_100);
    const fresh = outcomeOf(client.inspect(inspectCall('c')));
    processes.latest.ready();
    processes.all[0]?.answer('inspected', 'inspect b');
    await settled();
    t.same([other.state, waiting.state, fresh.state], ['ok', 'SHARE_UNAVAILABLE', 'waiting']);
  },
);

t.test('a share that goes on hanging costs a process per back-off, not per request', async (t) => {
  const { client, clock, processes } = await servingRig({ backOffFirstMs: 1_000, backOffMaxMs: 8_000 });
  for (let second = 0; second < 120; second++) {
    outcomeOf(client.beat({ shareId: undefined }));
    outcomeOf(client.inspect(inspectCall('a')));
    for (const process of processes.all.filter(({ isKilled }) => !isKilled)) process.ready();
    await clock.advance(1_000);
    for (const process of processes.all.filter(({ isKilled }) => isKilled)) process.exit('SIGKILL');
  }
  t.ok(processes.all.length <= 12, `${processes.all.length} processes in 120 s`);
  t.ok(processes.all.length >= 8, `${processes.all.length} processes: it must go on trying`);

  const refused = outcomeOf(client.publish(publishCall('a', 1, 2)));
  await settled();
  if (refused.state !== 'waiting') {
    t.match(refused.error?.message, /failed \d+ times in a row, the next one starts in \d+ ms/);
  }
  await clock.advance(20_000);
  const healed = outcomeOf(client.inspect(inspectCall('a')));
  processes.latest.ready();
  processes.latest.answer('inspected');
  await settled();
  t.equal(healed.state, 'ok');
});

t.test('what a draining process still answers does not make a hanging share a healthy one', async (t) => {
  const { client, clock, processes } = await servingRig({ backOffFirstMs: 1_000 });
  outcomeOf(client.inspect(inspectCall('a')));
  await clock.advance(DEADLINE_MS - 1_000);
  const slow = outcomeOf(client.inspect(inspectCall('b')));
  await clock.advance(1_100);
  outcomeOf(client.inspect(inspectCall('c')));
  processes.latest.ready();
  processes.all[0]?.answer('inspected', 'inspect b');
  await clock.advance(OVERRUN_MS);
  const refused = outcomeOf(client.inspect(inspectCall('d')));
  await settled();
  t.equal(slow.state, 'ok');
  t.match(refused.error?.message, /failed 2 times in a row/);
});

t.test('a crash ends its requests, and the next process serves what waited', async (t) => {
  const { client, processes } = await servingRig();
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  const inspect = outcomeOf(client.inspect(inspectCall('b')));
  const waiting = outcomeOf(client.inspect(inspectCall('a')));
  processes.latest.exit('SIGSEGV');
  await settled();
  t.match(publish.error, { code: 'OUTCOME_UNKNOWN', message: /the storage process ended \(SIGSEGV\)/ });
  t.match(inspect.error, { code: 'SHARE_UNAVAILABLE', retriable: true });
  t.equal(processes.all.length, 2);
  processes.latest.ready();
  processes.latest.answer('inspected');
  await settled();
  t.equal(waiting.state, 'ok');
});

t.test('a crash loop is spaced out', async (t) => {
  const { client, clock, processes } = await servingRig({ backOffFirstMs: 1_000 });
  const outcomes = [1, 2, 3].map(() => {
    const outcome = outcomeOf(client.inspect(inspectCall('a')));
    processes.latest.ready();
    processes.latest.exit('SIGSEGV');
    return outcome;
  });
  await settled();
  t.match(
    outcomes.map(({ error }) => error?.message),
    [/SIGSEGV/, /SIGSEGV/, /the next one starts in 1000 ms/],
  );
  t.equal(processes.all.length, 2);
  await clock.advance(1_000);
  outcomeOf(client.inspect(inspectCall('a')));
  t.equal(processes.all.length, 3);
});

t.test('a message that is none of ours ends the process', async (t) => {
  const { client, processes } = await servingRig();
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  processes.latest.say({ hello: 'world' });
  await settled();
  t.ok(processes.latest.isKilled);
  t.equal(publish.state, 'OUTCOME_UNKNOWN');
});

t.test('a failed start is told to everybody who waits, in its own words', async (t) => {
  const { client, clock, processes } = storageClientRig();
  const attempt = (): ReturnType<typeof outcomeOf> => outcomeOf(client.claim(claimCall('a')));

  const early = attempt();
  processes.latest.exit('exit status 1: Error: cannot find module');
  const identity = attempt();
  processes.latest.say({
    kind: 'failed',
    error: {
      code: 'CONFIG_INVALID',
      message: 'cannot become user 36',
      next: 'run it as root',
      retriable: false,
    },
  });
  await clock.advance(60_000);
  const silent = attempt();
  await clock.advance(STARTUP_MS + 100);
  await clock.advance(60_000);
  processes.forkError = new Error('spawn EAGAIN');
  const unforked = attempt();
  await settled();

  t.match(early.error, {
    code: 'SHARE_UNAVAILABLE',
    message: 'cannot start the storage process: exit status 1: Error: cannot find module',
  });
  t.match(identity.error, {
    code: 'CONFIG_INVALID',
    message: 'cannot start the storage process: cannot become user 36',
    next: 'run it as root',
  });
  t.match(silent.error?.message, /cannot start the storage process: it was not ready within 10000 ms/);
  t.match(unforked.error?.message, /cannot start the storage process: spawn EAGAIN/);
});

t.test('what a killed process says before its end is ignored', async (t) => {
  const { client, clock, processes } = await servingRig();
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(OVERRUN_MS);
  processes.latest.answer('committed');
  processes.latest.exit('SIGKILL');
  await settled();
  t.equal(publish.state, 'OUTCOME_UNKNOWN');
  t.match(client.gauges(), { processes: 0, stuck: 0, inFlight: 0, queued: 0 });
});

t.test('a start that failed fails once, whatever the process says later', async (t) => {
  const { client, clock, processes, events } = storageClientRig();
  outcomeOf(client.identify({}));
  await clock.advance(STARTUP_MS + 100);
  processes.latest.ready();
  processes.latest.say({
    kind: 'failed',
    error: { code: 'INTERNAL', message: 'x', next: 'y', retriable: false },
  });
  processes.latest.exit('SIGKILL');
  await settled();
  t.equal(events.filter(({ kind }) => kind === 'process-failed').length, 1);
});

t.test('close lets what was sent end, turns away the rest, and leaves no process', async (t) => {
  const { client, processes } = await servingRig({ inFlightMax: 1 });
  const sent = outcomeOf(client.publish(publishCall('a', 1, 2)));
  const waiting = outcomeOf(client.publish(publishCall('b', 1, 2)));
  const closing = client.close();
  const late = outcomeOf(client.beat({ shareId: undefined }));
  await settled();
  t.same([sent.state, waiting.state, late.state], ['waiting', 'SHARE_UNAVAILABLE', 'SHARE_UNAVAILABLE']);
  processes.latest.answer('committed');
  await closing;
  t.equal(sent.state, 'ok');
  t.ok(processes.latest.isKilled);
  t.equal(processes.all.length, 1);
});

t.test('close does not wait for a share that hangs longer than one deadline', async (t) => {
  const { client, clock, processes } = await servingRig();
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  const closing = outcomeOf(client.close());
  await clock.advance(OVERRUN_MS);
  t.equal(closing.state, 'ok');
  t.equal(publish.state, 'OUTCOME_UNKNOWN');
  t.ok(processes.latest.isKilled);
  t.equal(outcomeOf(client.close()).state, 'waiting');
  await settled();
  t.equal(clock.pending, 0);
});

t.test('close before the first request, or while a process starts, ends at once', async (t) => {
  await storageClientRig().client.close();
  const { client, processes } = storageClientRig();
  const request = outcomeOf(client.identify({}));
  await client.close();
  t.equal(request.state, 'SHARE_UNAVAILABLE');
  t.ok(processes.latest.isKilled);
});
