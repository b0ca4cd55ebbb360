/**
 * A run's claim is left with its guest, again after each new claim, and never at anybody's cost.
 */
import t from 'tap';
import { WrittenRunClaims } from '../../../src/agent/watch/run-claims.js';
import type { HostName } from '../../../src/model/identifiers.js';
import type { RunClaim } from '../../../src/model/run-claim.js';
import { UUID } from '../../fakes/host-rig.js';
import { ManualClock } from '../../fakes/manual-clock.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const HOUR_MS = 3_600_000;

function claimOf(epoch: number): RunClaim {
  return { host: 'kvm-a' as HostName, epoch, token: epoch.toString(16).padStart(16, '0') };
}

interface Rig {
  readonly claims: WrittenRunClaims;
  readonly clock: ManualClock;
  readonly written: number[];
  /** Whether libvirt takes it. */
  succeeds: boolean;
  tries: number;
}

function makeRig(): Rig {
  const clock = new ManualClock();
  const runMetadata = {
    write: async (_: string, { epoch }: RunClaim): Promise<boolean> => {
      rig.tries += 1;
      if (rig.succeeds) rig.written.push(epoch);
      return rig.succeeds;
    },
    close: () => undefined,
  };
  const claims = new WrittenRunClaims({ clock, log, runMetadata });
  const rig: Rig = { claims, clock, written: [], succeeds: true, tries: 0 };
  return rig;
}

t.test('each claim once, and not while libvirt waits for its hook', async (t) => {
  const { claims, clock, written } = makeRig();
  claims.show(UUID, claimOf(3));
  t.strictSame(written, []);
  await clock.advance(1_000);
  for (let again = 0; again < 5; again += 1) claims.show(UUID, claimOf(3));
  await clock.advance(HOUR_MS);
  t.strictSame(written, [3]);
  claims.show(UUID, claimOf(9));
  await clock.advance(1_000);
  t.strictSame(written, [3, 9]);
});

t.test('one that is superseded or gives up its volume before it is written is not', async (t) => {
  const { claims, clock, written } = makeRig();
  claims.show(UUID, claimOf(3));
  claims.show(UUID, claimOf(4));
  await clock.advance(1_000);
  t.strictSame(written, [4]);
  claims.show(UUID, claimOf(5));
  claims.show(UUID, undefined);
  await clock.advance(HOUR_MS);
  t.strictSame(written, [4]);
});

t.test('the same claim is left again after a time without one', async (t) => {
  const { claims, clock, written } = makeRig();
  claims.show(UUID, claimOf(3));
  await clock.advance(1_000);
  claims.show(UUID, undefined);
  claims.show(UUID, claimOf(3));
  await clock.advance(1_000);
  t.strictSame(written, [3, 3]);
});

t.test('what libvirt does not take is tried again, less and less often, and then no more', async (t) => {
  const rig = makeRig();
  rig.succeeds = false;
  rig.claims.show(UUID, claimOf(3));
  await rig.clock.advance(2_000);
  t.ok(rig.tries >= 2 && rig.tries <= 3, `${String(rig.tries)} tries in 2 s`);
  await rig.clock.advance(HOUR_MS);
  t.equal(rig.tries, 8);
  t.equal(rig.clock.pending, 0);
  rig.succeeds = true;
  rig.claims.show(UUID, claimOf(4));
  await rig.clock.advance(1_000);
  t.strictSame(rig.written, [4], 'a new claim is tried anew');
});

t.test('a failure that passes delays it', async (t) => {
  const rig = makeRig();
  rig.succeeds = false;
  rig.claims.show(UUID, claimOf(3));
  await rig.clock.advance(3_000);
  rig.succeeds = true;
  await rig.clock.advance(60_000);
  t.strictSame(rig.written, [3]);
});

t.test('after the end nothing is written', async (t) => {
  const { claims, clock, written } = makeRig();
  claims.show(UUID, claimOf(3));
  claims.close();
  claims.show(UUID, claimOf(4));
  await clock.advance(HOUR_MS);
  t.strictSame(written, []);
});

t.test('without anywhere to leave it there is nothing to do', async (t) => {
  const clock = new ManualClock();
  new WrittenRunClaims({ clock, log }).show(UUID, claimOf(3));
  t.equal(clock.pending, 0);
});
