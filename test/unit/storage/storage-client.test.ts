import t from 'tap';
import {
  DEADLINE_MS,
  outcomeOf,
  OVERRUN_MS,
  servingRig,
  settled,
  STARTUP_MS,
  storageClientRig,
} from '../../fakes/storage-client-rig.js';
import { claimCall, inspectCall, publishCall, uuidOf } from '../../fixtures/share-calls.js';

t.test('no process is started before the first request, and one serves all', async (t) => {
  const { client, processes } = storageClientRig();
  t.equal(processes.all.length, 0);
  const first = client.identify({});
  const second = client.inspect(inspectCall('a'));
  t.equal(processes.all.length, 1);
  t.same(processes.latest.received, [], 'nothing is sent before it is ready');
  processes.latest.ready();
  t.same(processes.latest.received, ['identify', 'inspect a']);
  processes.latest.answer('marker');
  processes.latest.answer('inspection');
  t.same(await Promise.all([first, second]), ['marker', 'inspection']);
});

t.test(
  'requests of one volume run one after another in the order of their arrival, volumes in parallel',
  async (t) => {
    const { client, processes } = await servingRig();
    const process = processes.latest;
    const claim = client.claim(claimCall('a'));
    const publish = client.publish(publishCall('a', 1, 2));
    const other = client.inspect(inspectCall('b'));
    t.same(process.unanswered, ['claim a', 'inspect b']);
    process.answer('claimed', 'claim a');
    await claim;
    t.same(process.unanswered, ['inspect b', 'publish a']);
    process.answer('committed', 'publish a');
    process.answer('inspected', 'inspect b');
    t.same(await Promise.all([publish, other]), ['committed', 'inspected']);
  },
);

t.test('an error of the share reaches the caller as it was', async (t) => {
  const { client, processes } = await servingRig();
  const publish = client.publish(publishCall('a', 1, 2));
  const record = { code: 'SHARE_FULL', message: 'no space', next: 'free some', retriable: true } as const;
  processes.latest.refuse(record);
  await t.rejects(publish, record);
});

t.test('no more requests than allowed are in flight, and a heartbeat waits for none of them', async (t) => {
  const { client, processes } = await servingRig({ inFlightMax: 2 });
  for (const letter of 'abc') outcomeOf(client.inspect(inspectCall(letter)));
  outcomeOf(client.beat({ shareId: undefined }));
  t.same(processes.latest.unanswered, ['inspect a', 'inspect b', 'beat']);
  processes.latest.answer('x', 'inspect a');
  t.same(processes.latest.unanswered, ['inspect b', 'beat'], 'the heartbeat counts as in flight');
  processes.latest.answer('x', 'inspect b');
  t.same(processes.latest.unanswered, ['beat', 'inspect c']);
});

t.test('a request past a bound of the queue fails at once', async (t) => {
  const { client, processes } = await servingRig({ inFlightMax: 1, queuePerVolumeMax: 1, queueMax: 2 });
  outcomeOf(client.inspect(inspectCall('a')));
  outcomeOf(client.inspect(inspectCall('a')));
  const sameVolume = outcomeOf(client.publish(publishCall('a', 1, 2)));
  outcomeOf(client.inspect(inspectCall('b')));
  const anyVolume = outcomeOf(client.publish(publishCall('c', 1, 2)));
  const beat = outcomeOf(client.beat({ shareId: undefined }));
  await settled();
  t.match(sameVolume.error, {
    code: 'SHARE_UNAVAILABLE',
    retriable: true,
    message: `publish of ${uuidOf('a')} was not begun: its volume's queue is full (1 requests)`,
  });
  t.match(anyVolume.error?.message, /the share's queue is full \(2 requests\)/);
  processes.latest.answer({ latencyMs: 1 }, 'beat');
  await settled();
  t.equal(beat.state, 'ok', 'a full queue turns no heartbeat away');
});

t.test(
  'the time in the queue counts toward the deadline, and what was never sent changed nothing',
  async (t) => {
    const { client, clock, processes } = await servingRig();
    const slow = outcomeOf(client.verify({ uuid: uuidOf('a') }));
    const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
    await clock.advance(DEADLINE_MS - 1);
    t.equal(publish.state, 'waiting');
    await clock.advance(100);
    t.match(publish.error, {
      code: 'SHARE_TIMEOUT',
      retriable: true,
      message: /was not begun within 5000 ms/,
    });
    t.equal(slow.state, 'waiting', 'a whole volume may take longer');
    t.notOk(processes.latest.isKilled, 'a queue is no stall');
    processes.latest.answer('verified');
    await settled();
    t.equal(slow.state, 'ok');
    t.same(processes.latest.unanswered, [], 'the request that ran out of time was never sent');
  },
);

t.test('a request that was sent late may outlast its caller without a stall', async (t) => {
  const { client, clock, processes } = await servingRig();
  outcomeOf(client.inspect(inspectCall('a')));
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(DEADLINE_MS - 1_000);
  processes.latest.answer('inspected');
  await clock.advance(1_100);
  t.match(publish.error, { code: 'OUTCOME_UNKNOWN', message: /no answer from the share within 5000 ms/ });
  t.notOk(processes.latest.isKilled, 'the process had it for 1.1 s only');
  const next = outcomeOf(client.claim(claimCall('a')));
  t.same(processes.latest.unanswered, ['publish a'], 'the volume stays in work until there is an answer');
  processes.latest.answer('late');
  t.same(processes.latest.unanswered, ['claim a']);
  processes.latest.answer('claimed');
  await settled();
  t.equal(next.state, 'ok');
});

t.test('an answer that is in the pipe when the deadline passes still counts', async (t) => {
  const { client, clock, processes } = await servingRig();
  const publish = outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(DEADLINE_MS + 1);
  processes.latest.answer('committed');
  await clock.advance(1_000);
  t.equal(publish.state, 'ok');
  t.notOk(processes.latest.isKilled);
});

t.test(
  'while a process starts, its start-up is added to the patience of those who wait for it',
  async (t) => {
    const { client, clock, processes } = storageClientRig();
    const identify = outcomeOf(client.identify({}));
    await clock.advance(STARTUP_MS - 1);
    processes.latest.ready();
    await clock.advance(DEADLINE_MS - 1);
    t.equal(identify.state, 'waiting');
    processes.latest.answer('marker');
    await settled();
    t.equal(identify.state, 'ok');
  },
);

t.test('every timer ends with its request', async (t) => {
  const { client, clock, processes } = await servingRig();
  t.equal(clock.pending, 0);
  const request = client.inspect(inspectCall('a'));
  processes.latest.answer('x');
  await request;
  t.equal(clock.pending, 0);
});

t.test('each request and each turn in the life of a process is told', async (t) => {
  const { client, clock, processes, events } = await servingRig();
  outcomeOf(client.publish(publishCall('a', 1, 2)));
  await clock.advance(OVERRUN_MS);
  processes.latest.exit('SIGKILL');
  const volume = uuidOf('a');
  t.match(events, [
    { kind: 'process-started', pid: 1001 },
    { kind: 'process-ready', pid: 1001 },
    { kind: 'request-ended', operation: 'beat', volume: undefined, durationMs: 0, outcome: 'ok' },
    { kind: 'request-ended', operation: 'publish', volume, durationMs: 5_020, outcome: 'OUTCOME_UNKNOWN' },
    { kind: 'process-stalled', pid: 1001, request: `publish of ${volume}` },
    { kind: 'process-killed', pid: 1001, unanswered: 1 },
    { kind: 'process-gone', pid: 1001, how: 'SIGKILL' },
  ]);
});
