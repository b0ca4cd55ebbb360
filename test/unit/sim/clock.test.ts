import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import t from 'tap';
import { describeCapture, decodeBundle, encodeBundle } from '../../../src/bundle/archive.js';
import { contentDigest, sha256 } from '../../../src/model/hash.js';
import { parseDomainUuid, parseHostName } from '../../../src/model/identifiers.js';
import { sleep } from '../../../src/model/environment.js';
import { HostClock, VirtualClock } from '../../sim/clock.js';
import { SimulatedProcess } from '../../sim/process.js';
import { SeededRandom } from '../../sim/random.js';

void t.test(
  'timers fire in the order of their time, equal ones as they were set, cancelled ones never',
  async (t) => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    const note = (name: string) => (): void => {
      fired.push(`${name}@${clock.nowMs}`);
    };
    clock.after(20, note('late'));
    clock.after(10, note('first'));
    clock.after(10, note('second'));
    clock.after(5, note('cancelled'))();
    clock.after(31, note('beyond'));
    await clock.run(30);
    t.strictSame(fired, ['first@10', 'second@10', 'late@20']);
    t.equal(clock.nowMs, 30);
  },
);

void t.test('a promise chain of any length runs to its end before time moves', async (t) => {
  const clock = new VirtualClock();
  let steps = 0;
  let seen = 0;
  clock.after(1, () => {
    void (async () => {
      for (; steps < 5000; steps += 1) await Promise.resolve();
    })();
  });
  clock.after(2, () => {
    seen = steps;
  });
  await clock.run(2);
  t.equal(seen, 5000);
});

void t.test('heap order holds for many timers', async (t) => {
  const clock = new VirtualClock();
  const random = new SeededRandom('heap');
  const fired: number[] = [];
  for (let count = 0; count < 1000; count += 1) {
    const delayMs = random.int(0, 100);
    clock.after(delayMs, () => fired.push(delayMs));
  }
  await clock.run(100);
  t.equal(fired.length, 1000);
  t.strictSame(
    fired,
    [...fired].sort((a, b) => a - b),
  );
});

void t.test('outside work holds time and is delivered in the order in which it began', async (t) => {
  const clock = new VirtualClock();
  const done: string[] = [];
  const compress = promisify(gzip);
  const work = async (name: string, bytes: number): Promise<void> => {
    await clock.outside(() => compress(new Uint8Array(bytes)));
    done.push(`${name}@${clock.nowMs}`);
  };
  await clock.runUntilSettled(
    Promise.all([
      work('large', 4_000_000),
      work('small', 10),
      sleep(new HostClock(clock, new SimulatedProcess('a')), 5),
    ]),
    10,
  );
  t.strictSame(done, ['large@0', 'small@0']);
  await t.rejects(
    clock.runUntilSettled(
      clock.outside(() => Promise.reject(new Error('no'))),
      0,
    ),
    /no/,
  );
});

void t.test('the bundle codec takes no real time, so it needs no announcement', async (t) => {
  const data = new TextEncoder().encode('state'.repeat(2000));
  const files = [
    { role: 'tpm2', name: 'tpm2-00.permall', mode: 0o600, mtimeNs: 1n, data, sha256: sha256(data) } as const,
  ];
  const uuid = parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d');
  const capture = { uuid, files, digest: contentDigest(files), identity: undefined };
  const manifest = describeCapture(capture, {
    name: 'vm',
    slot: 2,
    epoch: 1,
    parent: 0,
    host: parseHostName('kvm-a'),
    bootId: '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4e',
    time: '2026-01-01T00:00:00Z',
    reason: 'change',
    swtpm: '0.7.1',
    libtpms: '0.9.2',
  });
  const clock = new VirtualClock();
  const bundle = await clock.runUntilSettled(encodeBundle(manifest, capture).then(decodeBundle), 0);
  t.equal(bundle.capture.digest, capture.digest);
});

void t.test('what nothing will ever settle is reported, not awaited', async (t) => {
  const clock = new VirtualClock();
  await t.rejects(clock.runUntilSettled(new Promise(() => undefined), 1000), /no timer is left/);
  clock.after(2000, () => undefined);
  await t.rejects(clock.runUntilSettled(new Promise(() => undefined), 1000), /1000 ms of virtual time/);
});

void t.test("a host's wall clock is skewed, its timers die with its process", async (t) => {
  const time = new VirtualClock();
  const process = new SimulatedProcess('kvm-a');
  const clock = new HostClock(time, process, 3_600_000);
  t.equal(clock.nowMs() - new HostClock(time, process).nowMs(), 3_600_000);
  t.equal(clock.monotonicMs(), 0);
  let fired = false;
  clock.after(10, () => {
    fired = true;
  });
  time.after(5, () => {
    process.kill();
  });
  await time.run(20);
  t.notOk(fired);
});
