import * as fc from 'fast-check';
import t from 'tap';
import type { FileStat, FileSystem } from '../../../src/model/filesystem.js';
import { fileSystemKind, semanticsOf } from '../../../src/model/share-semantics.js';
import { ShareTime } from '../../../src/volume/host-watch.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { VolumeHosts, type VolumeHost } from '../../fixtures/volume-hosts.js';
import { claimCall, claimed, EXPIRY_MS, read } from '../../fixtures/volume-steps.js';

const BEAT = { shareId: undefined };
const HEARTBEAT_MS = 5_000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const YEAR = 365 * 24 * HOUR;
const SKEWS = [0, MINUTE, -MINUTE, HOUR, -HOUR, YEAR, -YEAR];

/** Another host's beat bears a time that is wrong by so much. */
function skewed(skewMs: () => number): (fs: FileSystem) => FileSystem {
  return (fs) =>
    interceptFileSystem(fs, async (call, proceed) => {
      const found = await proceed();
      if (call.site !== 'heartbeat:stat-other') return found;
      const stat = found as unknown as FileStat;
      return { ...stat, mtimeNs: stat.mtimeNs + BigInt(skewMs()) * 1_000_000n } as never;
    });
}

interface Pair {
  readonly hosts: VolumeHosts;
  readonly subject: VolumeHost;
  readonly observer: VolumeHost;
}

async function pair(seed: number, skewMs: () => number, isTimeObserved: boolean): Promise<Pair> {
  const hosts = new VolumeHosts(seed);
  const subject = hosts.start('kvm-a');
  await subject.store.initialise({});
  await claimed(subject.store);
  const observer = hosts.start('kvm-b', { wrap: skewed(skewMs), isTimeObserved });
  await observer.store.beat(BEAT);
  return { hosts, subject, observer };
}

async function isAlive({ observer }: Pair): Promise<boolean> {
  return (await read(observer.store))?.holder?.alive === true;
}

t.test('G4: no host that beats is ever taken for dead, whatever times its beats bear', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1000),
      fc.array(
        fc.record({
          skewMs: fc.constantFrom(...SKEWS),
          pauseMs: fc.integer({ min: 1, max: 2 * HEARTBEAT_MS }),
          // The share answers nobody, and time goes on.
          outageMs: fc.constantFrom(0, 0, 0, EXPIRY_MS, 10 * EXPIRY_MS),
        }),
        { minLength: 1, maxLength: 20 },
      ),
      async (seed, steps) => {
        let skewMs = 0;
        const pairOf = await pair(seed, () => skewMs, true);
        for (const step of steps) {
          skewMs = step.skewMs;
          await pairOf.hosts.pass(step.outageMs);
          if (!(await isAlive(pairOf))) return false;
          await pairOf.hosts.pass(step.pauseMs);
          await pairOf.observer.store.beat(BEAT);
          if (!(await isAlive(pairOf))) return false;
          await pairOf.subject.store.beat(BEAT);
        }
        return true;
      },
    ),
    { numRuns: 60 },
  );
  t.end();
});

t.test('G4: no dead host lives for ever, whatever time its last beat bears', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1000),
      fc.constantFrom(...SKEWS),
      fc.boolean(),
      fc.integer({ min: 250, max: HEARTBEAT_MS }),
      async (seed, skew, isTimeObserved, everyMs) => {
        const dead = await pair(seed, () => skew, isTimeObserved);
        let watchedMs = 0;
        await isAlive(dead);
        for (; watchedMs < EXPIRY_MS; watchedMs += everyMs) {
          await dead.hosts.pass(everyMs);
          await dead.observer.store.beat(BEAT);
        }
        return !(await isAlive(dead));
      },
    ),
    { numRuns: 60 },
  );
  t.end();
});

t.test('an agent that has watched needs no wait at a start; one that has just begun waits', async (t) => {
  const watched = await pair(1, () => YEAR, true);
  for (let at = 0; at <= EXPIRY_MS; at += HEARTBEAT_MS) {
    await watched.observer.store.beat(BEAT);
    await watched.hosts.pass(HEARTBEAT_MS);
  }
  t.match(await watched.observer.store.claim(claimCall('expired', 'take-over')), { kind: 'claimed' });

  const begun = await pair(2, () => -YEAR, true);
  await begun.hosts.pass(10 * EXPIRY_MS);
  const fresh = begun.hosts.start('kvm-c', { isTimeObserved: true }).store;
  t.match(await fresh.claim(claimCall('expired', 'take-over')), {
    kind: 'held',
    holder: { alive: true, isWatched: true, heartbeatAgeMs: 0 },
  });
});

t.test('where one clock stamps all beats, an expired host is known at once', async (t) => {
  const { hosts, observer } = await pair(1, () => 0, false);
  await hosts.pass(EXPIRY_MS);
  t.match(await observer.store.claim(claimCall('expired', 'take-over')), { kind: 'claimed' });
});

t.test('time in which the share answers nobody is nobody’s silence', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60_000 }), { maxLength: 30 }), (gaps) => {
      let nowMs = 0;
      const time = new ShareTime({ monotonicMs: () => nowMs }, EXPIRY_MS / 2);
      time.answered();
      for (const gap of gaps) {
        nowMs += gap;
        time.answered();
      }
      const counted = gaps.filter((gap) => gap <= EXPIRY_MS / 2).reduce((sum, gap) => sum + gap, 0);
      return time.now === counted;
    }),
  );
  t.end();
});

t.test('what a file system is, by its magic number and the mount table', (t) => {
  const table = [
    [0x6969, 'nfs4', 'nfs', 'server'],
    [0x00c36400, 'ceph', 'ceph', 'writer'],
    [0x65735546, 'fuse.ceph-fuse', 'ceph-fuse', 'writer'],
    [0x65735546, 'fuse.glusterfs', 'glusterfs', 'writer'],
    [0x65735546, 'fuse.mfs', 'moosefs', 'writer'],
    [0x65735546, 'fuse.sshfs', 'sshfs', 'writer'],
    [0x65735546, 'fuse.rclone', 'object-store', 'writer'],
    [0x65735546, 'fuse.bindfs', 'unknown', 'writer'],
    [0x65735546, '', 'unknown', 'writer'],
    [0x7461636f, 'ocfs2', 'ocfs2', 'writer'],
    [0xff534d42, 'cifs', 'smb', 'writer'],
    [-11317950, 'cifs', 'smb', 'writer'],
    [0xfe534d42, 'smb3', 'smb', 'writer'],
    [0xef53, 'ext4', 'local', 'server'],
    [0x58465342, 'xfs', 'local', 'server'],
    [0x9123683e, 'btrfs', 'local', 'server'],
    [0x01021994, 'tmpfs', 'local', 'server'],
    [0x1, 'novel', 'unknown', 'writer'],
  ] as const;
  for (const [magic, type, kind, timeSource] of table) {
    t.equal(fileSystemKind(magic, type), kind, type);
    t.equal(semanticsOf(kind).timeSource, timeSource, type);
  }
  t.end();
});
